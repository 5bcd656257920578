//! Who waits for news of which trace.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use runspine_errors::Fault;
use runspine_logs_domain::reasons;
use tokio::sync::Notify;

/// Wakes watchers after a commit. What they then see comes from the store.
pub struct Hub {
    max_streams: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    traces: HashMap<i64, Weak<Notify>>,
    streams: HashMap<String, usize>,
}

/// One open stream; ends when it is dropped.
pub struct Watcher {
    hub: Arc<Hub>,
    tenant_id: String,
    trace_key: i64,
    news: Arc<Notify>,
}

impl Hub {
    /// With at most `max_streams` for each tenant.
    pub fn new(max_streams: usize) -> Self {
        Self { max_streams, inner: Mutex::default() }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the tenant has as many as it may.
    pub fn watch(self: &Arc<Self>, tenant_id: &str, trace_key: i64) -> Result<Watcher, Fault> {
        let mut inner = self.inner.lock();
        let open = inner.streams.entry(tenant_id.to_owned()).or_default();
        if *open >= self.max_streams {
            let message = format!("{} streams are open, as many as a tenant may have", self.max_streams);
            let quota = format!("{} streams", self.max_streams);
            return Err(Fault::new(&reasons::TOO_MANY_STREAMS, message)
                .quota("watch.max_streams", quota)
                .retry_after(std::time::Duration::from_secs(5)));
        }
        *open += 1;
        let known = inner.traces.get(&trace_key).and_then(Weak::upgrade);
        let news = known.unwrap_or_else(|| {
            let news = Arc::new(Notify::new());
            inner.traces.insert(trace_key, Arc::downgrade(&news));
            news
        });
        Ok(Watcher { hub: Arc::clone(self), tenant_id: tenant_id.to_owned(), trace_key, news })
    }

    /// Tells those who watch a trace that it has news.
    pub fn wake(&self, trace_key: i64) {
        let news = self.inner.lock().traces.get(&trace_key).and_then(Weak::upgrade);
        if let Some(news) = news {
            news.notify_waiters();
        }
    }
}

impl Watcher {
    /// What is notified of news; register with it before reading, or news in between are missed.
    pub fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut inner = self.hub.inner.lock();
        if let Some(open) = inner.streams.get_mut(&self.tenant_id) {
            *open -= 1;
            if *open == 0 {
                inner.streams.remove(&self.tenant_id);
            }
        }
        // This watcher's own handle is the last one.
        if Arc::strong_count(&self.news) == 1 {
            inner.traces.remove(&self.trace_key);
        }
    }
}
