//! Writes what differs from what was read, with few multi-row statements.

use runspine_controls_domain::{
    hold::{Hold, Line},
    words::EntryKind,
};
use runspine_db::{Args, DbError, args};
use runspine_types::Micros;

use super::desk::{Desk, HoldSlot};

const PERIODS: [&str; 14] = [
    "envelope_key",
    "period_start",
    "period_end",
    "rollover_in",
    "adjusted",
    "debt_in",
    "settled",
    "granted",
    "debt",
    "unfunded",
    "rolled_out",
    "closed",
    "warned",
    "blocked",
];
const PERIOD_UPSERT: &str = "ON CONFLICT (envelope_key, period_start) DO UPDATE SET rollover_in = excluded.rollover_in, \
    adjusted = excluded.adjusted, debt_in = excluded.debt_in, settled = excluded.settled, granted = excluded.granted, \
    debt = excluded.debt, unfunded = excluded.unfunded, rolled_out = excluded.rolled_out, closed = excluded.closed, \
    warned = excluded.warned, blocked = excluded.blocked";
const ALLOCATIONS: [&str; 9] =
    ["run_key", "envelope_key", "period_start", "granted", "held", "spent", "used", "unfunded", "open"];
const ALLOCATION_UPSERT: &str = "ON CONFLICT (run_key, envelope_key, period_start) DO UPDATE SET \
    granted = excluded.granted, held = excluded.held, spent = excluded.spent, used = excluded.used, \
    unfunded = excluded.unfunded, open = excluded.open";
const HOLDS: [&str; 15] = [
    "hold_id",
    "run_key",
    "step_index",
    "ask",
    "state",
    "cost_microusd",
    "tokens_input",
    "tokens_output",
    "duration_ms",
    "source",
    "extensions",
    "ambiguous",
    "released_for",
    "settle_digest",
    "settle_answer",
];
const HOLD_UPSERT: &str = "ON CONFLICT (hold_id) DO UPDATE SET state = excluded.state, \
    cost_microusd = excluded.cost_microusd, tokens_input = excluded.tokens_input, \
    tokens_output = excluded.tokens_output, duration_ms = excluded.duration_ms, extensions = excluded.extensions, \
    ambiguous = excluded.ambiguous, released_for = excluded.released_for, settle_digest = excluded.settle_digest, \
    settle_answer = excluded.settle_answer";
const LINES: [&str; 5] = ["hold_id", "envelope_key", "period_start", "amount", "unfunded"];
const LINE_UPSERT: &str = "ON CONFLICT (hold_id, envelope_key) DO UPDATE SET amount = excluded.amount";
const TRANSITIONS: [&str; 5] = ["hold_id", "seq", "from_state", "to_state", "at"];
const ENTRIES: [&str; 12] = [
    "envelope_key",
    "period_start",
    "kind",
    "funding",
    "amount",
    "run_key",
    "step_index",
    "ask",
    "hold_id",
    "settlement_id",
    "actor_id",
    "at",
];
const EVIDENCE: [&str; 16] = [
    "run_key",
    "step_index",
    "ask",
    "evidence_id",
    "decision_id",
    "fence",
    "verdict",
    "plain",
    "resolver_version",
    "inputs",
    "inputs_digest",
    "request_digest",
    "answer",
    "evaluated_at",
    "freeze_epoch",
    "hold_id",
];
const LEASES: [&str; 13] = [
    "run_key",
    "tenant_id",
    "run_id",
    "attempt",
    "state",
    "fence",
    "expires_at",
    "scope",
    "seen_at",
    "failed_in_row",
    "allowed_epoch",
    "epoch_seen",
    "told",
];
const LEASE_UPSERT: &str = "ON CONFLICT (run_key) DO UPDATE SET state = excluded.state, fence = excluded.fence, \
    expires_at = excluded.expires_at, scope = excluded.scope, failed_in_row = excluded.failed_in_row, \
    allowed_epoch = excluded.allowed_epoch, epoch_seen = excluded.epoch_seen, told = excluded.told";

impl Desk<'_> {
    /// Writes everything that differs from what was read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn flush(mut self, now: Micros) -> Result<(), DbError> {
        let tally = self.tally();
        self.tell_evaluations()?;
        self.flush_leases(now).await?;
        self.flush_accounts().await?;
        self.flush_holds().await?;
        self.flush_entries(now).await?;
        self.flush_evidence().await?;
        self.flush_gates(now).await?;
        self.flush_sets(now).await?;
        self.flush_breaches().await?;
        self.flush_uses().await?;
        self.publish_notices(now);
        self.flush_signals().await?;
        self.flush_recoveries(now).await?;
        tally.count();
        Ok(())
    }

    async fn flush_leases(&mut self, now: Micros) -> Result<(), DbError> {
        let mut keys: Vec<_> = self.changed_runs.iter().copied().collect();
        keys.sort_unstable();
        let rows: Vec<Args> = keys
            .iter()
            .filter_map(|key| self.runs.get(key))
            .map(|r| {
                args![
                    r.run_key,
                    &r.tenant_id,
                    &r.run_id,
                    r.attempt,
                    r.state,
                    r.fence,
                    r.expires_at,
                    &r.scope,
                    now,
                    r.failed_in_row,
                    r.allowed_epoch,
                    r.epoch_seen,
                    &r.told
                ]
            })
            .collect();
        self.insert("run_leases", &LEASES, rows, LEASE_UPSERT).await
    }

    async fn flush_accounts(&mut self) -> Result<(), DbError> {
        let mut periods: Vec<_> = self.book.changed_periods().copied().collect();
        periods.sort_by_key(|p| p.key);
        let rows = periods
            .iter()
            .map(|p| {
                args![
                    p.key.0,
                    p.key.1,
                    p.end,
                    p.rollover_in,
                    p.adjusted,
                    p.debt_in,
                    p.settled,
                    p.granted,
                    p.debt,
                    p.unfunded,
                    p.rolled_out,
                    p.closed,
                    p.warned,
                    p.blocked
                ]
            })
            .collect();
        self.insert("envelope_periods", &PERIODS, rows, PERIOD_UPSERT).await?;
        let rows = self
            .book
            .changed_allocations()
            .map(|a| args![a.key.0, a.key.1, a.key.2, a.granted, a.held, a.spent, a.used, a.unfunded, a.open])
            .collect();
        self.insert("allocations", &ALLOCATIONS, rows, ALLOCATION_UPSERT).await
    }

    async fn flush_holds(&mut self) -> Result<(), DbError> {
        let changed = |slot: &&HoldSlot| slot.newly_settled || slot.before.as_ref() != Some(&slot.hold);
        let mut slots: Vec<&HoldSlot> = self.holds.values().filter(changed).collect();
        // In the order of their tables, so that neighbours are written one after the other.
        slots.sort_unstable_by(|a, b| a.hold.id.cmp(&b.hold.id));
        let rows: Vec<Args> = slots.iter().map(|slot| hold_args(slot)).collect();
        let lines: Vec<Args> = slots.iter().flat_map(|slot| new_lines(slot)).collect();
        self.insert("holds", &HOLDS, rows, HOLD_UPSERT).await?;
        self.insert("hold_lines", &LINES, lines, LINE_UPSERT).await?;
        let moves = std::mem::take(&mut self.transitions);
        let rows =
            moves.into_iter().map(|(hold, seq, from, to, at)| args![hold, seq, from, to, at]).collect();
        self.insert("hold_transitions", &TRANSITIONS, rows, "").await
    }

    async fn flush_entries(&mut self, now: Micros) -> Result<(), DbError> {
        let rows = self
            .book
            .entries()
            .iter()
            .map(|e| {
                let settlement = match (e.of_settlement, e.run) {
                    (true, Some(run)) => self.settlement_ids.get(&run).cloned(),
                    _ => None,
                };
                let (step, ask) = e.step.unzip();
                let place = e.run.zip(e.step).map(|(run, (step, ask))| (run, step, ask));
                let hold = place.and_then(|place| self.hold(place)).map(|slot| &slot.hold.id);
                debug_assert!(e.kind != EntryKind::Reversal || settlement.is_some());
                args![
                    e.period.0,
                    e.period.1,
                    e.kind.code(),
                    e.funding.map(|f| f.code()),
                    e.amount,
                    e.run,
                    step,
                    ask,
                    hold.cloned(),
                    settlement,
                    self.actor.clone().filter(|_| e.kind == EntryKind::Adjust),
                    now
                ]
            })
            .collect();
        self.insert("budget_entries", &ENTRIES, rows, "").await
    }

    async fn flush_evidence(&mut self) -> Result<(), DbError> {
        let rows = std::mem::take(&mut self.evidence)
            .into_iter()
            .map(|e| {
                args![
                    e.key.0,
                    e.key.1,
                    e.key.2,
                    e.evidence_id,
                    e.decision_id,
                    e.fence,
                    e.verdict,
                    e.plain,
                    e.resolver_version,
                    e.inputs,
                    e.inputs_digest,
                    e.request_digest,
                    e.answer,
                    e.evaluated_at,
                    e.freeze_epoch,
                    e.hold_id
                ]
            })
            .collect();
        self.insert("evidence", &EVIDENCE, rows, "").await
    }

    /// Breaches of runs that ended and of periods that closed are over.
    async fn flush_recoveries(&mut self, now: Micros) -> Result<(), DbError> {
        for run in std::mem::take(&mut self.ended_runs) {
            self.recover_run(run, now).await?;
        }
        let closed: Vec<_> = self.book.closed_periods().collect();
        self.publish_rolled(&closed, now);
        for period in closed {
            self.recover_period(period, "PERIOD_ENDED", now).await?;
        }
        Ok(())
    }

    /// Keeps the content of control sets that were read for this transaction.
    async fn flush_sets(&mut self, now: Micros) -> Result<(), DbError> {
        let fresh = std::mem::take(&mut self.fresh_sets);
        let sets = fresh.iter().filter_map(|tenant| Some((tenant, self.sets.get(tenant)?)));
        let rows = sets.map(|(tenant, set)| args![tenant, set.digest.to_vec(), &set.content, now]).collect();
        let columns = ["tenant_id", "digest", "content", "first_used_at"];
        self.insert("control_sets", &columns, rows, "ON CONFLICT DO NOTHING").await
    }

    pub(super) async fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Args>,
        on_conflict: &str,
    ) -> Result<(), DbError> {
        if !rows.is_empty() {
            self.tx.insert_rows(table, columns, rows, on_conflict).await?;
        }
        Ok(())
    }
}

fn hold_args(slot: &HoldSlot) -> Args {
    let Hold { key, id, state, amounts, source, extensions, ambiguous, released_for, .. } = &slot.hold;
    let (digest, answer) = slot.settled.clone().unzip();
    args![
        id,
        key.0,
        key.1,
        key.2,
        state.code(),
        amounts.cost_microusd,
        amounts.tokens_input,
        amounts.tokens_output,
        amounts.duration_ms,
        source.code(),
        *extensions,
        *ambiguous,
        released_for.map(|r| r.code()),
        digest,
        answer
    ]
}

fn new_lines(slot: &HoldSlot) -> Vec<Args> {
    let known: &[Line] = slot.before.as_ref().map_or(&[], |h| &h.lines);
    let fresh = slot.hold.lines.iter().filter(|line| !known.contains(line));
    fresh.map(|l| args![&slot.hold.id, l.envelope, l.period_start, l.amount, l.unfunded]).collect()
}
