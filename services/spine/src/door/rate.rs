//! How often a key may call: a bucket that fills evenly.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use runspine_errors::Fault;
use runspine_rpc::Operation;
use runspine_types::{Clock, Micros};

use super::{config::DoorConfig, directory::Identity, reasons};

/// Limited by controls instead: an agent's steps, and what keeps its run alive.
const STEP_CALLS: [&str; 4] = ["AuthorizeStep", "RecordStep", "RenewLease", "GovernRun"];
const RUN_SERVICE: &str = "runspine.spine.v1.RunService";
/// Buckets kept; full ones are forgotten first, which changes nothing.
const MOST_BUCKETS: usize = 10_000;

pub(super) struct Rates {
    clock: Arc<dyn Clock>,
    calls: Limit,
    starts: Limit,
}

struct Limit {
    /// Microseconds that one call costs.
    price: i64,
    /// Microseconds that a bucket holds.
    full: i64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// When the bucket will be full again: one number says all.
#[derive(Clone, Copy)]
struct Bucket {
    full_at: Micros,
}

impl Rates {
    pub fn new(config: &DoorConfig, clock: Arc<dyn Clock>) -> Self {
        let calls = Limit::new(config.rate_per_minute, config.burst);
        Self { clock, calls, starts: Limit::new(config.start_rate, config.start_rate) }
    }

    pub fn admit(&self, operation: &Operation, caller: &Identity) -> Result<(), Fault> {
        let method = if operation.service == RUN_SERVICE { operation.method() } else { "" };
        if STEP_CALLS.contains(&method) {
            return Ok(());
        }
        let now = self.clock.now();
        let wait = match method {
            "StartRun" => self.starts.take(&caller.tenant, now),
            _ => self.calls.take(&caller.handle, now),
        };
        match wait {
            None => Ok(()),
            Some(wait) => {
                let who = if method == "StartRun" { "tenant" } else { "key" };
                let fault = Fault::new(&reasons::RATE_LIMITED, format!("the {who} calls too often"));
                Err(fault.retry_after(wait))
            }
        }
    }
}

impl Limit {
    fn new(per_minute: u32, burst: u32) -> Self {
        let price = 60_000_000 / i64::from(per_minute.max(1));
        Self { price, full: price * i64::from(burst.max(1)), buckets: Mutex::default() }
    }

    /// Takes one call out; otherwise says when there will be one.
    fn take(&self, who: &str, now: Micros) -> Option<Duration> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MOST_BUCKETS {
            buckets.retain(|_, bucket| bucket.full_at > now);
        }
        let from = buckets.get(who).map_or(now, |bucket| bucket.full_at.max(now));
        let full_at = Micros(from.0 + self.price);
        let over = full_at.0 - now.0 - self.full;
        if over > 0 {
            return Some(Duration::from_micros(over.unsigned_abs()));
        }
        match buckets.get_mut(who) {
            Some(bucket) => bucket.full_at = full_at,
            None => {
                buckets.insert(who.to_owned(), Bucket { full_at });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limit = Limit::new(600, 100);
        let now = Micros(1_000_000_000);
        assert!((0..100).all(|_| limit.take("k", now).is_none()));
        assert_eq!(limit.take("k", now), Some(Duration::from_millis(100)));
        assert!(limit.take("other", now).is_none());
        let later = now.plus_millis(250);
        assert_eq!((0..10).filter(|_| limit.take("k", later).is_none()).count(), 2);
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let limit = Limit::new(600, 1);
        let now = Micros(1_000_000_000);
        for n in 0..MOST_BUCKETS {
            assert!(limit.take(&n.to_string(), now).is_none());
        }
        assert!(limit.take("late", now.plus_millis(1_000)).is_none());
        assert_eq!(limit.buckets.lock().len(), 1);
    }
}
