//! How many streams a tenant may have open.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use runspine_errors::Fault;
use runspine_logs_domain::reasons::TOO_MANY_STREAMS;

use crate::metrics;

/// Counts the open streams of each tenant, of whatever kind.
pub struct Seats {
    most: usize,
    open: Mutex<HashMap<String, usize>>,
}

/// The right to one stream; given back when it is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    tenant_id: String,
}

impl Seats {
    /// With at most `most` streams a tenant.
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// The right to one more stream.
    ///
    /// # Errors
    /// TOO_MANY_STREAMS.
    pub fn take(self: &Arc<Self>, tenant_id: &str) -> Result<Seat, Fault> {
        let mut open = self.open.lock();
        let count = open.entry(tenant_id.to_owned()).or_default();
        if *count >= self.most {
            let message = format!("{} streams are open, as many as a tenant may have", self.most);
            return Err(Fault::new(&TOO_MANY_STREAMS, message)
                .quota("watch.max_streams", format!("{} streams", self.most))
                .retry_after(Duration::from_secs(5)));
        }
        *count += 1;
        show(&open);
        Ok(Seat { seats: Arc::clone(self), tenant_id: tenant_id.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.seats.open.lock();
        if let Some(count) = open.get_mut(&self.tenant_id) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant_id);
            }
        }
        show(&open);
    }
}

#[allow(clippy::cast_precision_loss, reason = "a number of streams")]
fn show(open: &HashMap<String, usize>) {
    metrics::WATCH_STREAMS.set(open.values().sum::<usize>() as f64, &[]);
}
