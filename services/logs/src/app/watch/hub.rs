//! Who waits for news of which trace.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::watch;

/// Wakes watchers after a commit. What they then see comes from the store.
#[derive(Default)]
pub struct Hub {
    traces: Mutex<HashMap<i64, Weak<watch::Sender<()>>>>,
}

/// Hears of one trace; stops when it is dropped.
pub struct Ear {
    hub: Arc<Hub>,
    trace_key: i64,
    /// The last one that is dropped takes the trace out of the hub.
    told: Arc<watch::Sender<()>>,
    news: watch::Receiver<()>,
}

impl Hub {
    /// Listens for news of a trace: whatever is committed from now on is heard.
    pub fn listen(self: &Arc<Self>, trace_key: i64) -> Ear {
        let mut traces = self.traces.lock();
        let known = traces.get(&trace_key).and_then(Weak::upgrade);
        let told = known.unwrap_or_else(|| {
            let told = Arc::new(watch::Sender::new(()));
            traces.insert(trace_key, Arc::downgrade(&told));
            told
        });
        let news = told.subscribe();
        Ear { hub: Arc::clone(self), trace_key, told, news }
    }

    /// Tells those who watch a trace that it has news.
    pub fn wake(&self, trace_key: i64) {
        let told = self.traces.lock().get(&trace_key).and_then(Weak::upgrade);
        if let Some(told) = told {
            told.send_replace(());
        }
    }
}

impl Ear {
    /// Ends at the first news since it ended last.
    pub async fn news(&mut self) {
        // The sender lives as long as this does.
        let _ = self.news.changed().await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut traces = self.hub.traces.lock();
        // This one's own handle is the last one.
        if Arc::strong_count(&self.told) == 1 {
            traces.remove(&self.trace_key);
        }
    }
}
