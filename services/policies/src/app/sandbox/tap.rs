//! Where shadows look at what is decided. The side of the decision never waits: what the other side can't keep up with
//! is counted and left out.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use runspine_policies_domain::sandbox::{replay::Replayer, shadow::is_sampled};
use runspine_types::{Digest, Micros};
use tokio::sync::{Notify, mpsc};

use crate::store::{
    hot::{Decided, Fact},
    shadows::ShadowRow,
};

/// Decisions that may wait for the shadows.
const QUEUE: usize = 8_192;

/// A shadow that looks, and its candidate.
pub(crate) struct Looking {
    pub row: ShadowRow,
    pub candidate: Arc<Replayer>,
    /// Decisions that it could not keep up with and that are not stored yet.
    pub dropped: AtomicU64,
}

/// What was decided, and who looks at it.
pub(crate) struct Seen {
    pub looking: Vec<Arc<Looking>>,
    pub run_id: String,
    pub attempt: u32,
    pub step_index: i64,
    pub moment: i32,
    pub snapshot: Digest,
    pub inputs: Bytes,
    /// Finished steps that this decision was the first to know of.
    pub facts: Vec<Fact>,
    /// As it was stored; empty until then.
    pub answer: Bytes,
}

/// The shadows of every tenant.
pub(crate) struct Shadows {
    any: AtomicBool,
    by_tenant: RwLock<HashMap<String, Vec<Arc<Looking>>>>,
    queue: mpsc::Sender<Seen>,
    waiting: Mutex<Option<mpsc::Receiver<Seen>>>,
    news: Notify,
}

impl Shadows {
    pub(crate) fn new() -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self {
            any: AtomicBool::new(false),
            by_tenant: RwLock::default(),
            queue,
            waiting: Mutex::new(Some(waiting)),
            news: Notify::new(),
        }
    }

    /// Shadows were started or stopped.
    pub(crate) fn changed(&self) {
        self.news.notify_one();
    }

    /// Waits until shadows were started or stopped.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// What waits to be looked at: for one worker.
    pub(crate) fn take_queue(&self) -> Option<mpsc::Receiver<Seen>> {
        self.waiting.lock().take()
    }

    /// Those that look from now on.
    pub(crate) fn set(&self, looking: Vec<Arc<Looking>>) {
        let mut by_tenant: HashMap<String, Vec<Arc<Looking>>> = HashMap::new();
        for one in looking {
            by_tenant.entry(one.row.tenant_id.clone()).or_default().push(one);
        }
        self.any.store(!by_tenant.is_empty(), Ordering::Release);
        *self.by_tenant.write() = by_tenant;
    }

    /// Those that look now.
    pub(crate) fn all(&self) -> Vec<Arc<Looking>> {
        self.by_tenant.read().values().flatten().map(Arc::clone).collect()
    }

    /// What has to be looked at of a decision that is about to be stored; mostly nothing, which costs one load.
    pub(crate) fn sees(
        &self,
        tenant: &str,
        run: (&str, u32),
        snapshot: Digest,
        decided: Option<&Decided>,
        at: Micros,
    ) -> Option<Seen> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let decided = decided?;
        let looking: Vec<Arc<Looking>> = {
            let by_tenant = self.by_tenant.read();
            let of_tenant = by_tenant.get(tenant)?.iter();
            let looks = |l: &&Arc<Looking>| {
                at < l.row.ends_at && is_sampled(&l.row.shadow_id, run.0, l.row.sample_permille)
            };
            of_tenant.filter(looks).map(Arc::clone).collect()
        };
        (!looking.is_empty()).then(|| Seen {
            looking,
            run_id: run.0.to_owned(),
            attempt: run.1,
            step_index: decided.step_index,
            moment: decided.moment,
            snapshot,
            inputs: decided.inputs.clone(),
            facts: Vec::new(),
            answer: Bytes::new(),
        })
    }

    /// The decision was stored and answered with these bytes.
    pub(crate) fn tell(&self, seen: Option<Seen>, answer: &Bytes) {
        let Some(mut seen) = seen else { return };
        seen.answer = answer.clone();
        if let Err(error) = self.queue.try_send(seen) {
            let (mpsc::error::TrySendError::Full(seen) | mpsc::error::TrySendError::Closed(seen)) = error;
            for looking in &seen.looking {
                looking.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
