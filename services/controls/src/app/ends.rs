//! The life of a run's account: its lease, its end, and the undoing of its end.

use bytes::Bytes;
use contracts_common::common::v1 as common;
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    account::AllocKey,
    hold::Hold,
    limit::Key,
    reasons,
    words::{Directive, Funding, HoldState},
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{
    admit::{expect_fence, unknown_run},
    records::Caller,
    signals::Moment,
};
use crate::{
    store::{
        desk::{Desk, RunRef},
        events::publish,
        rows::lease_state,
    },
    words::reason_to,
};

/// How long after a lease lapsed its holds expire, milliseconds.
pub const EXPIRY_MS: i64 = 5_000;

impl Desk<'_> {
    /// Extends the life of a run's holds, or suspends it while the run is paused.
    pub(super) async fn renew(
        &mut self,
        run: &RunRef,
        fence: u64,
        expires_at: Option<Micros>,
        epoch_seen: u64,
        now: Micros,
    ) -> Result<pb::RenewRunLeaseResponse, Fault> {
        let Some(lease) = self.run(run).cloned() else { return Err(unknown_run(&run.run_id)) };
        expect_fence(fence, lease.fence)?;
        if matches!(lease.state, lease_state::OPEN | lease_state::LAPSED) {
            if expires_at.is_none() {
                self.with_book(|book| book.return_free(lease.run_key)).await?;
            }
            self.change_run(lease.run_key, |row| {
                row.state = lease_state::OPEN;
                row.fence = fence;
                row.expires_at = expires_at;
                row.epoch_seen = row.epoch_seen.max(epoch_seen);
            });
        }
        let found = self.freeze_findings(&lease.run_scope()?, now);
        let directive = found.iter().map(|f| f.directive).max().unwrap_or(Directive::Continue);
        let reasons: Vec<common::Reason> = found.iter().map(reason_to).collect();
        Ok(pb::RenewRunLeaseResponse { freeze_epoch: self.epoch, directive: directive.code(), reasons })
    }

    /// Ends a run's account.
    pub(super) async fn settle_run(
        &mut self,
        caller: &Caller,
        run: &RunRef,
        outcome: i32,
        now: Micros,
    ) -> Result<pb::SettleRunResponse, Fault> {
        let Some(lease) = self.run(run).cloned() else { return Err(unknown_run(&run.run_id)) };
        let kept: Option<(i32, Bytes)> = self
            .tx
            .fetch_optional(
                "SELECT outcome, answer FROM settlements WHERE run_key = $1",
                runspine_db::args![lease.run_key],
            )
            .await?;
        if let Some((first, answer)) = kept {
            return replay(first == outcome, answer);
        }
        let before = self.active_holds(lease.run_key);
        let mut holds = before.clone();
        self.with_book(|book| {
            holds.clone_from(&before);
            book.settle_run(lease.run_key, &mut holds)
        })
        .await?;
        let settlement = self.settlement(run, lease.run_key, &holds, now).await?;
        let moment = Moment { run: lease.run_key, step: None, at: now };
        let periods: Vec<_> = self.book.allocations_of(lease.run_key).map(|a| a.period()).collect();
        periods.into_iter().for_each(|period| self.compare_period(moment, period));
        self.end_run(lease.run_key, holds, now);
        let response = pb::SettleRunResponse { settlement: Some(settlement.clone()) };
        let row = runspine_db::args![
            &settlement.settlement_id,
            lease.run_key,
            outcome,
            response.encode_to_vec(),
            now
        ];
        let columns = ["settlement_id", "run_key", "outcome", "answer", "settled_at"];
        self.tx.insert_rows("settlements", &columns, vec![row], "").await?;
        let about = self.about_run(lease.run_key, "settlement", settlement.settlement_id.clone());
        publish(self.tx, caller, "RunSettled", about, &pb::RunSettled { settlement: Some(settlement) }, now);
        Ok(response)
    }

    fn end_run(&mut self, run: Key, holds: Vec<Hold>, now: Micros) {
        for hold in holds {
            self.put_hold(hold, now);
        }
        self.free_run(run);
        self.ended_runs.push(run);
        self.change_run(run, |row| {
            row.state = lease_state::ENDED;
            row.expires_at = None;
        });
    }

    async fn settlement(
        &mut self,
        run: &RunRef,
        key: Key,
        ended: &[Hold],
        now: Micros,
    ) -> Result<pb::Settlement, Fault> {
        let settlement_id = new_id();
        self.settlement_ids.insert(key, settlement_id.clone());
        let usage = self.settled_usage(key);
        let cost = pb::LimitUnit::CostMicrousd as i32;
        let unfunded = usage.iter().filter(|u| u.unit == cost).map(|u| u.unfunded).max().unwrap_or(0);
        let (held,): (i64,) = self
            .tx
            .fetch_one("SELECT COUNT(*) FROM holds WHERE run_key = $1", runspine_db::args![key])
            .await?;
        let never = held == 0 && self.hold_count(key) == 0 && self.book.allocations_of(key).next().is_none();
        let released = ended.iter().filter(|h| h.state == HoldState::Released).count();
        Ok(pb::Settlement {
            settlement_id,
            run_id: run.run_id.clone(),
            attempt: run.attempt,
            usage,
            holds_released: u32::try_from(released).unwrap_or(u32::MAX),
            unfunded_microusd: unfunded,
            breaches: self.breaches_of(key).await?,
            nothing_held: never,
            settled_at: Some(timestamp(now)),
        })
    }

    /// Use of a run by envelope, over all periods.
    fn settled_usage(&self, run: Key) -> Vec<pb::SettledUsage> {
        let mut usage: Vec<(Key, pb::SettledUsage)> = Vec::new();
        for allocation in self.book.allocations_of(run) {
            let Some((limit, envelope)) = self.envelope(allocation.key.1) else { continue };
            if usage.last().is_none_or(|(key, _)| *key != allocation.key.1) {
                let row = pb::SettledUsage {
                    envelope_id: envelope.envelope_id.clone(),
                    limit_id: limit.id.clone(),
                    unit: limit.spec.unit.code(),
                    estimated: self.estimated(run, allocation.key.1),
                    ..pb::SettledUsage::default()
                };
                usage.push((allocation.key.1, row));
            }
            if let Some((_, row)) = usage.last_mut() {
                row.usage += allocation.used;
                row.unfunded += allocation.unfunded;
            }
        }
        usage.into_iter().map(|(_, row)| row).collect()
    }

    /// What the settlement itself charged.
    fn estimated(&self, run: Key, envelope: Key) -> i64 {
        let mine = |e: &&runspine_controls_domain::account::Entry| {
            e.of_settlement && e.run == Some(run) && e.period.0 == envelope
        };
        self.book.entries().iter().filter(mine).map(|e| e.amount).sum()
    }

    /// Undoes a settlement: its own estimated charges are reversed.
    pub(super) async fn reverse(
        &mut self,
        caller: &Caller,
        settlement_id: &str,
        saga_id: &str,
        reason: &str,
        now: Micros,
    ) -> Result<pb::ReverseSettlementResponse, Fault> {
        let (run, settlement) = self.known_settlement(caller, settlement_id).await?;
        let sql = "SELECT saga_id, reason, answer FROM settlement_reversals WHERE settlement_id = $1";
        let kept: Option<(String, String, Bytes)> =
            self.tx.fetch_optional(sql, runspine_db::args![settlement_id]).await?;
        if let Some((saga, why, answer)) = kept {
            return replay_reversal(saga == saga_id, why == reason, settlement_id, answer);
        }
        self.load_run_keys(&[run]).await?;
        self.load_allocations(&[run]).await?;
        let charges = self.charges_of(settlement_id, run).await?;
        let envelopes: Vec<Key> = charges.iter().map(|c| c.0.1).collect();
        self.load_envelopes(&envelopes).await?;
        self.settlement_ids.insert(run, settlement_id.to_owned());
        self.with_book(|book| book.reverse(&charges)).await?;
        let reversed: Vec<pb::SettledUsage> =
            settlement.usage.iter().filter(|u| u.estimated != 0).cloned().collect();
        let response = pb::ReverseSettlementResponse {
            settlement: Some(settlement),
            reversed: reversed.clone(),
            reversed_at: Some(timestamp(now)),
        };
        let columns = ["settlement_id", "saga_id", "reason", "answer", "reversed_at"];
        let row = runspine_db::args![settlement_id, saga_id, reason, response.encode_to_vec(), now];
        self.tx.insert_rows("settlement_reversals", &columns, vec![row], "").await?;
        let mut about = self.about_run(run, "settlement", settlement_id.to_owned());
        reason.clone_into(&mut about.reason);
        let data = pb::SettlementReversed {
            settlement_id: settlement_id.to_owned(),
            saga_id: saga_id.to_owned(),
            reversed,
        };
        publish(self.tx, caller, "SettlementReversed", about, &data, now);
        Ok(response)
    }

    async fn known_settlement(&mut self, caller: &Caller, id: &str) -> Result<(Key, pb::Settlement), Fault> {
        let sql = "SELECT s.run_key, s.answer FROM settlements s JOIN run_leases r ON r.run_key = s.run_key \
                   WHERE s.settlement_id = $1 AND r.tenant_id = $2";
        let row: Option<(i64, Bytes)> =
            self.tx.fetch_optional(sql, runspine_db::args![id, &caller.tenant_id]).await?;
        let (run, answer) =
            row.ok_or_else(|| Fault::new(&reasons::SETTLEMENT_NOT_FOUND, "no such settlement"))?;
        let unreadable = || super::defect("a settlement can't be read");
        let response = pb::SettleRunResponse::decode(answer).map_err(|_| unreadable())?;
        Ok((run, response.settlement.ok_or_else(unreadable)?))
    }

    async fn charges_of(
        &mut self,
        settlement: &str,
        run: Key,
    ) -> Result<Vec<(AllocKey, Funding, i64)>, Fault> {
        let sql = "SELECT envelope_key, period_start, funding, amount FROM budget_entries \
                   WHERE run_key = $1 AND settlement_id = $2 AND kind = 5 ORDER BY entry_seq";
        let rows: Vec<(i64, Micros, i32, i64)> =
            self.tx.fetch_all(sql, runspine_db::args![run, settlement]).await?;
        let charge = |(envelope, start, funding, amount): (i64, Micros, i32, i64)| {
            Some(((run, envelope, start), Funding::from_code(funding)?, amount))
        };
        Ok(rows.into_iter().filter_map(charge).collect())
    }

    /// Ends the account of a run whose lease lapsed, unless it was renewed in the meantime.
    pub(super) async fn lapse(&mut self, run: Key, now: Micros) -> Result<bool, Fault> {
        let Some(lease) = self.run_by_key(run).cloned() else { return Ok(false) };
        let due = lease.expires_at.is_some_and(|at| at.plus_millis(EXPIRY_MS) <= now);
        if lease.state != lease_state::OPEN || !due {
            return Ok(false);
        }
        let before = self.active_holds(run);
        let mut holds = before.clone();
        self.with_book(|book| {
            holds.clone_from(&before);
            book.lapse(run, &mut holds)
        })
        .await?;
        self.free_run(run);
        self.change_run(run, |row| row.state = lease_state::LAPSED);
        let hold_ids: Vec<String> = holds.iter().map(|h| h.id.clone()).collect();
        for hold in holds {
            self.put_hold(hold, now);
        }
        if !hold_ids.is_empty() {
            let about = self.about_run(run, "run_lease", lease.run_id.clone());
            let data = pb::HoldExpired { hold_ids, fence: lease.fence };
            publish(self.tx, &Caller::mesh(&lease.tenant_id), "HoldExpired", about, &data, now);
        }
        Ok(true)
    }
}

fn replay(same: bool, answer: Bytes) -> Result<pb::SettleRunResponse, Fault> {
    if !same {
        return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the run was settled with another outcome"));
    }
    pb::SettleRunResponse::decode(answer).map_err(|_| super::defect("a kept answer can't be read"))
}

fn replay_reversal(
    same_saga: bool,
    same_reason: bool,
    id: &str,
    answer: Bytes,
) -> Result<pb::ReverseSettlementResponse, Fault> {
    if !same_saga {
        let text = "another saga has reversed the settlement";
        let fault = Fault::new(&reasons::SETTLEMENT_REVERSED, text);
        return Err(fault.precondition(format!("settlements/{id}"), text));
    }
    if !same_reason {
        return Err(Fault::new(
            &mesh::IDEMPOTENCY_MISMATCH,
            "the settlement was reversed for another reason",
        ));
    }
    pb::ReverseSettlementResponse::decode(answer).map_err(|_| super::defect("a kept answer can't be read"))
}
