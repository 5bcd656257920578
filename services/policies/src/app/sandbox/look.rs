//! The other side of the tap: what was decided is decided again by the candidates of shadows, and stored.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering},
};

use lru::LruCache;
use runspine_errors::Fault;
use runspine_policies_domain::{
    facts::EndedQuestion,
    sandbox::{
        candidate::{Overlay, compile},
        replay::{Recorded, Replayer, RunReplay, Stored},
    },
    words::{Moment, NotReplayable},
};
use runspine_types::Digest;

use super::{
    replay::{answer_of, recorded, replayer},
    tap::{Looking, Seen},
};
use crate::{
    app::{App, cache::LoadError, unreadable},
    store::{
        diffs::DiffRow,
        shadows::{self, ShadowRow},
    },
};

/// Runs whose state is remembered between their decisions.
const RUNS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// Snapshots that decisions were made under.
const OWN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// What is remembered of a run.
struct Following {
    replay: RunReplay,
    /// Whether it was seen from its start.
    whole: bool,
}

/// What looking at decisions remembers.
pub(crate) struct Memory {
    runs: LruCache<(i64, String, u32), Following>,
    own: LruCache<Digest, Arc<Replayer>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { runs: LruCache::new(RUNS), own: LruCache::new(OWN) }
    }
}

impl App {
    /// Brings the tap up to date with what is stored, and stores what shadows could not keep up with.
    pub(crate) async fn refresh_shadows(&self) -> Result<(), Fault> {
        let before = self.shadows.all();
        let mut looking = Vec::new();
        for row in shadows::active(self.db.read(), self.now()).await? {
            if let Some(same) = before.iter().find(|l| l.row.id == row.id) {
                looking.push(Arc::clone(same));
                continue;
            }
            let id = row.shadow_id.clone();
            match self.looking(row).await {
                Ok(one) => looking.push(Arc::new(one)),
                Err(fault) => {
                    tracing::warn!(%fault, shadow = id, "a shadow can't look: its candidate can't be made")
                }
            }
        }
        self.shadows.set(looking);
        for one in before {
            let more = one.dropped.swap(0, Ordering::Relaxed);
            let key = one.row.id;
            if more > 0 {
                let count = self.db.write("shadow_dropped", move |tx| {
                    Box::pin(async move { Ok(shadows::dropped(tx, key, more).await?) })
                });
                count.await?;
            }
        }
        Ok(())
    }

    async fn looking(&self, row: ShadowRow) -> Result<Looking, Fault> {
        let base = self.cache.snapshot(&self.db, &row.tenant_id, row.base_digest).await;
        let overlay = Overlay::from_bytes(&row.overlay).unwrap_or_default();
        let base = base.map_err(LoadError::into_fault)?;
        let compiled = compile(&base, &overlay, &row.tenant_id)?;
        Ok(Looking { row, candidate: replayer(Arc::new(compiled)), dropped: 0.into() })
    }

    /// Decides again what was seen, one after the other, and stores what came of it.
    pub(crate) async fn look_at_seen(&self, memory: &mut Memory, seen: Vec<Seen>) -> Result<(), Fault> {
        let mut rows = Vec::with_capacity(seen.len());
        for one in &seen {
            for looking in &one.looking {
                rows.push((looking.row.id, self.look(memory, looking, one).await?));
                // Live calls share these threads.
                tokio::task::yield_now().await;
            }
        }
        let store = self.db.write("shadow_decisions", move |tx| {
            Box::pin(async move { Ok(shadows::insert_seen(tx, rows).await?) })
        });
        store.await
    }

    async fn look(
        &self,
        memory: &mut Memory,
        looking: &Looking,
        seen: &Seen,
    ) -> Result<shadows::Seen, Fault> {
        let answer = answer_of(seen.moment, &seen.answer)?;
        let digest = Digest::from_slice(&answer.decision.inputs_digest).unwrap_or(Digest([0; 32]));
        let of = recorded(&answer.decision, digest)?;
        let diff = recorded_row(seen, &answer.decision, &of);
        let mut row = shadows::Seen { refused: 0, detail: String::new(), diff };
        let own = match self.own_replayer(memory, &looking.row.tenant_id, seen.snapshot).await? {
            Some(own) => own,
            None => {
                row.refused = NotReplayable::SnapshotMissing.code();
                return Ok(row);
            }
        };
        let key = (looking.row.id, seen.run_id.clone(), seen.attempt);
        if !memory.runs.contains(&key) {
            let whole = seen.moment == Moment::RunStart.code();
            let run = (seen.run_id.as_str(), seen.attempt);
            let denied = !whole && shadows::denied_before(self.db.read(), looking.row.id, run).await?;
            memory.runs.put(key.clone(), Following { replay: RunReplay::denied_before(denied), whole });
        }
        let Some(following) = memory.runs.get_mut(&key) else { return Ok(row) };
        if !following.whole && (own.remembers() || looking.candidate.remembers()) {
            row.refused = NotReplayable::MonitorHistoryIncomplete.code();
            return Ok(row);
        }
        let facts =
            if own.needs_facts() || looking.candidate.needs_facts() { facts_of(seen)? } else { Vec::new() };
        let stored = Stored::Bytes(&seen.inputs);
        match looking.candidate.replay(&own, &mut following.replay, &of, stored, &facts) {
            Err((why, detail)) => (row.refused, row.detail) = (why.code(), detail),
            Ok(again) => {
                let primary = again.ruling.reasons.first().or_else(|| again.ruling.warnings.first());
                row.diff.candidate = again.ruling.verdict.code();
                row.diff.candidate_code = primary.map(|r| r.code.clone()).unwrap_or_default();
                row.diff.candidate_rule = primary.map(|r| r.rule_id.clone()).unwrap_or_default();
                row.diff.counterfactual = again.counterfactual;
            }
        }
        Ok(row)
    }

    async fn own_replayer(
        &self,
        memory: &mut Memory,
        tenant: &str,
        digest: Digest,
    ) -> Result<Option<Arc<Replayer>>, Fault> {
        if let Some(own) = memory.own.get(&digest) {
            return Ok(Some(Arc::clone(own)));
        }
        match self.cache.snapshot(&self.db, tenant, digest).await {
            Ok(snapshot) => {
                let own = replayer(snapshot);
                memory.own.put(digest, Arc::clone(&own));
                Ok(Some(own))
            }
            Err(LoadError::Store(fault)) => Err(fault),
            Err(LoadError::Missing | LoadError::Invalid { .. }) => Ok(None),
        }
    }
}

fn facts_of(seen: &Seen) -> Result<Vec<EndedQuestion>, Fault> {
    let one = |fact: &crate::store::hot::Fact| {
        let mut question: EndedQuestion = serde_json::from_slice(&fact.bytes).map_err(unreadable)?;
        question.authorized = fact.authorized;
        Ok(question)
    };
    seen.facts.iter().map(one).collect()
}

/// What was recorded, before anything was decided again.
fn recorded_row(seen: &Seen, decision: &contracts_policies::v1::Decision, of: &Recorded) -> DiffRow {
    DiffRow {
        decision_id: decision.decision_id.clone(),
        run_id: seen.run_id.clone(),
        attempt: seen.attempt,
        step_index: seen.step_index,
        recorded: of.verdict.code(),
        recorded_code: of.code.clone(),
        recorded_rule: of.rule_id.clone(),
        agent_id: decision.principal.clone(),
        resource: decision.resource.clone(),
        ..DiffRow::default()
    }
}
