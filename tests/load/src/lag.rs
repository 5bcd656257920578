//! How far the governance ledger was behind the domains while the load went on.

use std::time::Duration;

use contracts_logs::v1::{
    LedgerFilter, LedgerOrder, ListEntriesRequest, ledger_service_client::LedgerServiceClient,
};
use prost_types::Timestamp;
use serde::Serialize;

use crate::{
    measure::{Meter, Outcome},
    wire::Wire,
};

const PAGE: i32 = 500;
/// The newest entries of the load are enough for a 99th percentile.
const MOST: u64 = 100_000;
/// What the kernel and `logs` write is on the ledger at once; everything else comes through an outbox and the relay.
const AT_ONCE: [&str; 2] = ["spine.", "logs."];

/// What relayed entries waited.
#[derive(Debug, Clone, Serialize)]
pub struct Lag {
    /// Entries that were looked at.
    pub entries: u64,
    /// Milliseconds from the commit of the domain to that of the ledger: median.
    pub p50_ms: f64,
    /// The same, 99th percentile.
    pub p99_ms: f64,
}

/// Reads the ledger backwards. `None`: no domain told it anything.
pub async fn measure(wire: &Wire) -> Outcome<Option<Lag>> {
    let mut ledger = LedgerServiceClient::with_interceptor(wire.channel(0), wire.credential());
    let (mut meter, mut page_token) = (Meter::new()?, String::new());
    loop {
        let request = ListEntriesRequest {
            filter: Some(LedgerFilter::default()),
            order: LedgerOrder::SeqDesc.into(),
            page_size: PAGE,
            page_token,
        };
        let page = ledger.list_entries(request).await?.into_inner();
        for entry in page.entries.into_iter().filter_map(|view| view.entry) {
            let relayed = !AT_ONCE.iter().any(|domain| entry.event_type.starts_with(domain));
            if let (true, Some(from), Some(to)) = (relayed, entry.occurred_at, entry.recorded_at) {
                meter.record(between(&from, &to));
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() || meter.count() >= MOST {
            break;
        }
    }
    let millis = |quantile| meter.micros(quantile) / 1_000.0;
    let entries = meter.count();
    Ok((entries > 0).then(|| Lag { entries, p50_ms: millis(0.5), p99_ms: millis(0.99) }))
}

/// Nothing where one clock says that it was before the other.
fn between(from: &Timestamp, to: &Timestamp) -> Duration {
    let nanos = |at: &Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    Duration::from_nanos(u64::try_from(nanos(to) - nanos(from)).unwrap_or(0))
}
