//! The stream of `WatchBacktest`: how far it is, each time it gets on, until it ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use contracts_policies::v1 as pb;
use futures::Stream;
use runspine_errors::Fault;
use runspine_policies_domain::{sandbox::backtest::is_over, words::BacktestState};
use runspine_rpc::status;
use tokio::sync::mpsc;
use tonic::Status;

use crate::app::{App, Who};

/// How often the store is asked, for what other processes do.
const LOOK: Duration = Duration::from_secs(1);
/// How long a reader may take for one message.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stream; the work behind it ends when it is dropped.
pub(crate) struct Moves {
    messages: mpsc::Receiver<Result<pb::WatchBacktestResponse, Status>>,
}

impl Stream for Moves {
    type Item = Result<pb::WatchBacktestResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(cx)
    }
}

/// Opens a stream; refused when there is no such back-test.
pub(super) async fn open(app: &Arc<App>, who: Who, id: String) -> Result<Moves, Fault> {
    let first = app.backtest(&who, &id).await?;
    let (sender, messages) = mpsc::channel(4);
    tokio::spawn(follow(Arc::clone(app), who, first, sender));
    Ok(Moves { messages })
}

async fn follow(
    app: Arc<App>,
    who: Who,
    mut backtest: pb::Backtest,
    messages: mpsc::Sender<Result<pb::WatchBacktestResponse, Status>>,
) {
    let mut moved = app.backtests.subscribe();
    let id = backtest.backtest_id.clone();
    loop {
        let over = BacktestState::from_code(backtest.state).is_none_or(is_over);
        let told = backtest.version;
        let message = Ok(pb::WatchBacktestResponse { backtest: Some(backtest) });
        let said = tokio::time::timeout(PATIENCE, messages.send(message)).await;
        if over || !matches!(said, Ok(Ok(()))) {
            return;
        }
        backtest = loop {
            // Marked before reading, so that a change in between is seen.
            moved.mark_unchanged();
            match app.backtest(&who, &id).await {
                Ok(now) if now.version != told => break now,
                Ok(_) => {}
                Err(fault) => {
                    let _ = messages.send(Err(status(fault))).await;
                    return;
                }
            }
            tokio::select! {
                _ = moved.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = messages.closed() => return,
            }
        };
    }
}
