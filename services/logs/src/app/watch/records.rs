//! Watching one trace until its seal.

use std::sync::Arc;

use contracts_logs::v1::TraceSeal;
use prost::Message as _;
use runspine_errors::{Fault, mesh};

use super::{Inlet, Outlet, Source, Stop, follow, hub::Ear, outlet, seats::Seat};
use crate::{
    app::App,
    store::{
        records::{self, RecordRow},
        seals::{self, SealRow},
    },
};

/// Records that are read at a time.
const PAGE: usize = 256;

/// One message of a watch.
pub enum Watched {
    /// A record.
    Record(Box<RecordRow>),
    /// Nothing new; the position of the last record.
    Heartbeat(u64),
    /// The trace is sealed over so many records; nothing follows.
    End(Box<SealRow>, u64),
}

/// The stream of one trace.
struct Records {
    app: Arc<App>,
    trace_key: i64,
    /// The last position that was said.
    said: u64,
    ear: Ear,
    _seat: Seat,
}

impl App {
    /// Records of a trace from position `from` on: committed ones in order, each once, then live ones until the seal.
    ///
    /// # Errors
    /// TOO_MANY_STREAMS.
    pub fn watch_records(
        self: &Arc<Self>,
        tenant_id: &str,
        trace_key: i64,
        from: u64,
    ) -> Result<Inlet<Watched>, Fault> {
        let seat = self.seats.take(tenant_id)?;
        let ear = self.watch.listen(trace_key);
        let (outlet, inlet) = outlet::stream();
        let source = Records { app: Arc::clone(self), trace_key, said: from.max(1) - 1, ear, _seat: seat };
        tokio::spawn(follow(source, outlet, self.db.dialect()));
        Ok(inlet)
    }
}

impl Records {
    async fn records(&mut self, outlet: &Outlet<Watched>) -> Result<bool, Stop> {
        let mut any = false;
        loop {
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let page = records::page(self.app.db.read(), self.trace_key, self.said, limit).await?;
            let last = page.len() < PAGE;
            for row in page {
                let position = row.position;
                outlet.say(Watched::Record(Box::new(row)), position).await?;
                (self.said, any) = (position, true);
            }
            if last {
                return Ok(any);
            }
        }
    }
}

impl Source for Records {
    type Message = Watched;

    async fn drain(&mut self, outlet: &Outlet<Watched>) -> Result<bool, Stop> {
        let any = self.records(outlet).await?;
        let Some(seal) = seals::read(self.app.db.read(), self.trace_key).await? else { return Ok(any) };
        let body = TraceSeal::decode(seal.seal.clone())
            .map_err(|error| Fault::new(&mesh::INTERNAL, "a seal can't be read").caused_by(error))?;
        // Records that were committed between the last look and the seal.
        self.records(outlet).await?;
        outlet.say(Watched::End(Box::new(seal), body.record_count), self.said + 1).await?;
        Err(Stop::Done)
    }

    async fn beat(&mut self, outlet: &Outlet<Watched>) -> Result<(), Stop> {
        outlet.say(Watched::Heartbeat(self.said), self.said + 1).await
    }

    async fn news(&mut self) {
        self.ear.news().await;
    }
}
