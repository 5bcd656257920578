//! The life of a stream: what was, what comes, and a sign of life when nothing does.

use std::time::Duration;

use runspine_db::Dialect;
use tokio::time::Instant;

use super::{Outlet, Stop};

/// How long nothing may be said.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What a stream is about.
pub trait Source: Send + 'static {
    /// One message.
    type Message: Send + 'static;

    /// Says what is committed and was not said; tells whether there was anything.
    fn drain(&mut self, outlet: &Outlet<Self::Message>) -> impl Future<Output = Result<bool, Stop>> + Send;

    /// Says that the stream lives.
    fn beat(&mut self, outlet: &Outlet<Self::Message>) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Ends when there may be more to say than there was when `drain` was called.
    fn news(&mut self) -> impl Future<Output = ()> + Send;
}

/// Says what `source` has until its end, or until nobody reads.
pub async fn follow<S: Source>(mut source: S, outlet: Outlet<S::Message>, dialect: Dialect) {
    if let Err(Stop::Refused(fault)) = keep_on(&mut source, &outlet, dialect).await {
        outlet.close(fault);
    }
}

async fn keep_on<S: Source>(
    source: &mut S,
    outlet: &Outlet<S::Message>,
    dialect: Dialect,
) -> Result<(), Stop> {
    // Another process's commit is seen by looking, this one's by being told; SQLite has one process.
    let look = match dialect {
        Dialect::Sqlite => Duration::from_secs(1),
        Dialect::Postgres => Duration::from_millis(100),
    };
    let mut spoken = Instant::now();
    loop {
        if source.drain(outlet).await? {
            spoken = Instant::now();
        } else if spoken.elapsed() >= HEARTBEAT {
            source.beat(outlet).await?;
            spoken = Instant::now();
        }
        tokio::select! {
            () = source.news() => {}
            () = tokio::time::sleep(look) => {}
            () = outlet.gone() => return Ok(()),
        }
    }
}
