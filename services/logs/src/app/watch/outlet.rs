//! From whoever reads the store to whoever reads the stream: a few messages ahead, then the reader is waited for, and at
//! last given up.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::Stream;
use runspine_db::DbError;
use runspine_errors::Fault;
use runspine_logs_domain::reasons::SLOW_CONSUMER;
use tokio::sync::{mpsc, oneshot};

/// How long a reader may take for one message.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that are read ahead of a reader.
const AHEAD: usize = 64;

/// The writing end of a stream. Dropping it ends the stream well.
pub struct Outlet<T> {
    messages: mpsc::Sender<T>,
    last: oneshot::Sender<Fault>,
    patience: Duration,
}

/// The reading end: every message, then the fault that ended the stream, if one did.
pub struct Inlet<T> {
    messages: mpsc::Receiver<T>,
    last: Option<oneshot::Receiver<Fault>>,
}

/// Why a stream stops.
pub enum Stop {
    /// The other side is gone, or everything was said.
    Done,
    /// Something is said before the stream closes.
    Refused(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Refused(error.into())
    }
}

/// Both ends of a stream.
pub fn stream<T>() -> (Outlet<T>, Inlet<T>) {
    patient(PATIENCE)
}

fn patient<T>(patience: Duration) -> (Outlet<T>, Inlet<T>) {
    let ((messages, taken), (last, told)) = (mpsc::channel(AHEAD), oneshot::channel());
    (Outlet { messages, last, patience }, Inlet { messages: taken, last: Some(told) })
}

impl<T> Outlet<T> {
    /// Says a message; whoever did not get it resumes at `place`.
    ///
    /// # Errors
    /// When the reader is gone, or takes no message: SLOW_CONSUMER.
    pub async fn say(&self, message: T, place: u64) -> Result<(), Stop> {
        match self.messages.send_timeout(message, self.patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stop::Done),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let message = format!("no message was taken for {} s; resume at {place}", PATIENCE.as_secs());
                Err(Fault::new(&SLOW_CONSUMER, message).with("resume_at", place).into())
            }
        }
    }

    /// Ends when the reader is gone.
    pub async fn gone(&self) {
        self.messages.closed().await;
    }

    /// Ends the stream with a fault, which needs no room among the messages: a reader that took none still hears why.
    pub fn close(self, fault: Fault) {
        let _ = self.last.send(fault);
    }
}

impl<T> Stream for Inlet<T> {
    type Item = Result<T, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.messages.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(message)));
        }
        // Told before the last sender of messages went, so it is there already or never will be.
        let told = self.last.take().and_then(|mut last| last.try_recv().ok());
        Poll::Ready(told.map(Err))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_hears_why_and_where_to_resume() {
        let (outlet, inlet) = patient(Duration::from_millis(5));
        let mut refused = None;
        for place in 1..1_000_u64 {
            if let Err(stop) = outlet.say(place, place).await {
                refused = Some(stop);
                break;
            }
        }
        let Some(Stop::Refused(fault)) = refused else { panic!("the reader was given up") };
        outlet.close(fault);
        let got: Vec<Result<u64, Fault>> = inlet.collect().await;
        let (last, before) = got.split_last().unwrap();
        assert_eq!(before.len(), AHEAD, "what was said before is not lost");
        let fault = last.as_ref().unwrap_err();
        assert!(fault.is(&SLOW_CONSUMER));
        let resume = fault.metadata().get("resume_at");
        assert_eq!(resume, Some(&(AHEAD + 1).to_string()), "the first that was not said");
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_ends_well_and_a_reader_that_left_ends_it() {
        let (outlet, inlet) = stream();
        assert!(outlet.say(1, 1).await.is_ok());
        drop(outlet);
        assert_eq!(inlet.map(|got| got.ok()).collect::<Vec<_>>().await, [Some(1)]);
        let (outlet, inlet) = stream::<u64>();
        drop(inlet);
        outlet.gone().await;
        assert!(matches!(outlet.say(1, 1).await, Err(Stop::Done)));
    }
}
