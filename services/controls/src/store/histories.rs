//! What steps used, for the estimates of later ones: counted in memory, and written behind.
//!
//! An estimate is no account. A settle therefore writes nothing for it; what was learned is written together once a second,
//! and a process that dies forgets a second of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use runspine_controls_domain::{
    estimate::Amounts,
    history::{History, StepName},
    words::StepKind,
};
use runspine_db::{Args, AssertSqlSafe, DbError, Tx, args};
use runspine_types::Micros;

use super::{
    desk::Desk,
    lists::{CHUNK, list},
    rows::unreadable,
};
use crate::words::stored;

/// Beyond this many names those that can be read again are forgotten.
const MOST: usize = 10_000;
/// What no step was recorded of for this long is deleted, milliseconds.
const KEPT_MS: i64 = 30 * 86_400_000;

/// A step that was recorded.
pub type Recorded = (StepName, Amounts);

#[derive(Debug, Default)]
struct Known {
    /// As it is stored, with what was learned since; none: it was not read yet.
    history: Option<History>,
    /// What is not written yet.
    fresh: Vec<Amounts>,
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<StepName, Known>,
    /// What the group under way has learned.
    pending: Vec<Recorded>,
}

/// The memory of it.
#[derive(Debug, Default)]
pub struct Histories {
    inner: Mutex<Inner>,
}

impl Histories {
    /// Those of `names` that have to be read.
    fn unread(&self, names: BTreeSet<StepName>) -> Vec<StepName> {
        let inner = self.inner.lock();
        let unread = |name: &StepName| inner.known.get(name).is_none_or(|known| known.history.is_none());
        names.into_iter().filter(unread).collect()
    }

    /// What steps of a name usually use; none: too few were recorded.
    fn usual(&self, name: &StepName) -> Option<Amounts> {
        self.inner.lock().known.get(name)?.history.as_ref()?.usual()
    }

    /// Takes over what was read, and adds what was learned since.
    fn put(&self, name: StepName, mut history: History) {
        let mut inner = self.inner.lock();
        if inner.known.len() >= MOST {
            inner.known.retain(|_, known| !known.fresh.is_empty());
        }
        let known = inner.known.entry(name).or_default();
        known.fresh.iter().for_each(|used| history.push(used));
        known.history = Some(history);
    }

    /// Notes what a group has learned; it counts when the group is durable.
    pub fn learn(&self, recorded: Vec<Recorded>) {
        self.inner.lock().pending.extend(recorded);
    }

    /// The group is durable.
    pub fn committed(&self) {
        let inner = &mut *self.inner.lock();
        for (name, used) in inner.pending.drain(..) {
            if inner.known.len() >= MOST && !inner.known.contains_key(&name) {
                continue;
            }
            let known = inner.known.entry(name).or_default();
            known.history.iter_mut().for_each(|history| history.push(&used));
            known.fresh.push(used);
        }
    }

    /// The group was undone.
    pub fn undone(&self) {
        self.inner.lock().pending.clear();
    }

    /// What is to be written, at most `most` names of it.
    #[must_use]
    pub fn fresh(&self, most: usize) -> BTreeMap<StepName, Vec<Amounts>> {
        let inner = self.inner.lock();
        let fresh = inner.known.iter().filter(|(_, known)| !known.fresh.is_empty());
        fresh.take(most).map(|(name, known)| (name.clone(), known.fresh.clone())).collect()
    }

    /// It is written: `histories` are as they are stored now.
    pub fn written(&self, histories: BTreeMap<StepName, (History, usize)>) {
        let mut inner = self.inner.lock();
        for (name, (mut history, count)) in histories {
            let Some(known) = inner.known.get_mut(&name) else { continue };
            known.fresh.drain(..count.min(known.fresh.len()));
            known.fresh.iter().for_each(|used| history.push(used));
            known.history = Some(history);
        }
    }
}

runspine_db::row! {
    struct HistoryRow {
        tenant_id: String,
        agent_id: String,
        kind: i32,
        resource: String,
        steps: String,
    }
}

async fn read(tx: &mut Tx, names: &[StepName], lock: &str) -> Result<BTreeMap<StepName, History>, DbError> {
    let mut found = BTreeMap::new();
    for part in names.chunks(CHUNK) {
        let key = |n: &StepName| args![&n.tenant_id, &n.agent_id, i64::from(n.kind.code()), &n.resource];
        let keys = list(part.iter().map(key).collect());
        let sql = format!(
            "SELECT {} FROM step_histories WHERE (tenant_id, agent_id, kind, resource) IN \
             (SELECT column1, column2, column3, column4 FROM {}) ORDER BY history_key{lock}",
            HistoryRow::COLUMNS,
            keys.sql
        );
        let rows: Vec<HistoryRow> = tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
        for row in rows {
            let history = History::from_text(&row.steps).ok_or_else(|| unreadable("step_histories.steps"))?;
            let HistoryRow { tenant_id, agent_id, kind, resource, .. } = row;
            let kind = stored(StepKind::from_code(kind))?;
            found.insert(StepName { tenant_id, agent_id, kind, resource }, history);
        }
    }
    Ok(found)
}

/// Adds what was learned to what is stored, and says how it is stored now and how much of it is new.
///
/// # Errors
/// When the store fails.
pub async fn write(
    tx: &mut Tx,
    fresh: BTreeMap<StepName, Vec<Amounts>>,
    now: Micros,
) -> Result<BTreeMap<StepName, (History, usize)>, DbError> {
    let names: Vec<StepName> = fresh.keys().cloned().collect();
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let mut stored = read(tx, &names, lock).await?;
    let (mut after, mut rows) = (BTreeMap::new(), Vec::<Args>::with_capacity(fresh.len()));
    for (name, used) in fresh {
        let mut history = stored.remove(&name).unwrap_or_default();
        used.iter().for_each(|one| history.push(one));
        let kind = i64::from(name.kind.code());
        rows.push(args![&name.tenant_id, &name.agent_id, kind, &name.resource, history.to_text(), now]);
        after.insert(name, (history, used.len()));
    }
    let columns = ["tenant_id", "agent_id", "kind", "resource", "steps", "updated_at"];
    let on_conflict = "ON CONFLICT (tenant_id, agent_id, kind, resource) \
                       DO UPDATE SET steps = excluded.steps, updated_at = excluded.updated_at";
    tx.insert_rows("step_histories", &columns, rows, on_conflict).await?;
    let before = Micros(now.0.saturating_sub(KEPT_MS * 1_000));
    tx.execute("DELETE FROM step_histories WHERE updated_at < $1", args![before]).await?;
    Ok(after)
}

impl Desk<'_> {
    /// Loads what steps of these names usually use.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_usual(&mut self, names: BTreeSet<StepName>) -> Result<(), DbError> {
        if names.is_empty() {
            return Ok(());
        }
        let histories = self.caches.histories.clone();
        let unread = histories.unread(names.clone());
        if !unread.is_empty() {
            let mut found = read(self.tx, &unread, "").await?;
            for name in unread {
                let history = found.remove(&name).unwrap_or_default();
                histories.put(name, history);
            }
        }
        for name in names {
            if let Some(usual) = histories.usual(&name) {
                self.usual.insert(name, usual);
            }
        }
        Ok(())
    }
}
