//! Asking for back-tests, ending them, and reading what they found.

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    reasons,
    sandbox::backtest::{Act, MAX_DECISIONS, MAX_OPEN, Range, next_state},
    words::BacktestState,
};
use runspine_types::{Micros, new_id};

use super::candidate::AskCandidate;
use crate::{
    app::{App, Keyed, Who, read::Page, unreadable},
    present_sandbox,
    store::{
        backtests::{self, BacktestRow, NewBacktest},
        diffs::DiffRow,
        lists::Filter,
    },
};

/// A back-test as it is asked for, parsed.
pub(crate) struct AskBacktest {
    pub candidate: AskCandidate,
    pub range: Range,
}

/// Refused: there is none.
pub(crate) fn not_found() -> Fault {
    Fault::new(&reasons::BACKTEST_NOT_FOUND, "there is no such back-test")
}

fn quota(text: String) -> Fault {
    Fault::new(&reasons::BACKTEST_QUOTA, text.clone()).quota("backtests", text)
}

impl App {
    /// Queues a back-test.
    pub(crate) async fn start_backtest(
        &self,
        who: &Who,
        request: &pb::StartBacktestRequest,
        ask: AskBacktest,
    ) -> Result<pb::StartBacktestResponse, Fault> {
        let key = Keyed::by_request_id("policies.StartBacktest", &request.request_id, request);
        // What is in force may have changed since the first answer, and with it whether the candidate still can be made.
        if let Some(answer) = self.answered(who, &key).await? {
            return Ok(answer);
        }
        let at = self.now();
        ask.range.check(at.0)?;
        let candidate = self.candidate(who, ask.candidate).await?;
        let total = self.count_range(who, &ask.range).await?;
        if total > MAX_DECISIONS {
            return Err(quota(format!("the range holds more than {MAX_DECISIONS} decisions")));
        }
        let new = NewBacktest {
            backtest_id: new_id(),
            base_digest: candidate.base,
            overlay: candidate.overlay.bytes(),
            candidate_digest: candidate.compiled.digest,
            since: ask.range.since,
            until: ask.range.until,
            range_body: serde_json::to_vec(&ask.range).map_err(unreadable)?,
            total,
            actor: (who.actor.r#type, who.actor.id.clone()),
            at,
        };
        let tenant = who.tenant.clone();
        let done = self.keyed(who, key, move |tx| Box::pin(insert(tx, tenant, new))).await;
        self.backtests_moved();
        done
    }

    /// Ends a back-test that is not done.
    pub(crate) async fn cancel_backtest(
        &self,
        who: &Who,
        request: &pb::CancelBacktestRequest,
    ) -> Result<pb::CancelBacktestResponse, Fault> {
        let key = Keyed::by_request_id("policies.CancelBacktest", &request.request_id, request);
        let (tenant, id, at) = (who.tenant.clone(), request.backtest_id.clone(), self.now());
        let done = self.keyed(who, key, move |tx| Box::pin(cancel(tx, tenant, id, at))).await;
        self.backtests_moved();
        done
    }

    /// One back-test, with its report.
    pub(crate) async fn backtest(&self, who: &Who, id: &str) -> Result<pb::Backtest, Fault> {
        let row = backtests::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        present(&row, true)
    }

    /// Back-tests, newest first, with their keys.
    pub(crate) async fn backtests(
        &self,
        who: &Who,
        states: &[i32],
        page: Page,
    ) -> Result<Vec<(i64, pb::Backtest)>, Fault> {
        let filter =
            Filter::tenant("tenant_id", &who.tenant).and_if("id <", page.before).any_of("state", states);
        let rows: Vec<BacktestRow> =
            filter.fetch(self.db.read(), backtests::BACKTEST, "id DESC", page.limit).await?;
        rows.iter().map(|r| Ok((r.id, present(r, false)?))).collect()
    }

    /// What a back-test found changed, last replayed first, with their keys.
    pub(crate) async fn backtest_diffs(
        &self,
        who: &Who,
        request: &pb::ListBacktestDiffsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::DecisionDiff)>, Fault> {
        let id = request.backtest_id.as_str();
        backtests::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        let verdict = |code: i32| (code != 0).then_some(code);
        let mut filter = Filter::tenant("b.tenant_id", &who.tenant)
            .and("b.backtest_id =", id)
            .and_if("d.id <", page.before)
            .and_if("d.recorded =", verdict(request.recorded))
            .and_if("d.candidate =", verdict(request.candidate))
            .either("d.recorded_rule", "d.candidate_rule", &request.rule_id);
        if request.first_only {
            filter = filter.raw(" AND d.counterfactual = 0");
        }
        let rows: Vec<DiffRow> =
            filter.fetch(self.db.read(), backtests::DIFF, "d.id DESC", page.limit).await?;
        Ok(rows.into_iter().map(|r| (r.id, present_sandbox::diff(r))).collect())
    }
}

/// A stored back-test as a message.
pub(crate) fn present(row: &BacktestRow, with_report: bool) -> Result<pb::Backtest, Fault> {
    let range: Range = serde_json::from_slice(&row.range_body).map_err(unreadable)?;
    let report = match with_report && !row.report.is_empty() {
        true => Some(pb::SandboxReport::decode(row.report.clone()).map_err(unreadable)?),
        false => None,
    };
    Ok(present_sandbox::backtest(row, range, report))
}

async fn insert(tx: &mut Tx, tenant: String, new: NewBacktest) -> Result<pb::StartBacktestResponse, Fault> {
    if backtests::open(tx, &tenant).await? >= MAX_OPEN {
        return Err(quota(format!("the tenant has {MAX_OPEN} back-tests that are not done")));
    }
    let row = backtests::insert(tx, &tenant, new).await?;
    Ok(pb::StartBacktestResponse { backtest: Some(present(&row, false)?) })
}

async fn cancel(
    tx: &mut Tx,
    tenant: String,
    id: String,
    at: Micros,
) -> Result<pb::CancelBacktestResponse, Fault> {
    let row = backtests::by_id(tx, &tenant, &id).await?.ok_or_else(not_found)?;
    let state = BacktestState::from_code(row.state).unwrap_or(BacktestState::Failed);
    if next_state(state, Act::Cancel).is_none() {
        let text = format!("the back-test is {}: it can't be cancelled", state.as_str());
        let fault = Fault::new(&reasons::BACKTEST_TRANSITION_INVALID, text);
        return Err(fault.precondition(format!("backtests/{id}"), "queued or running"));
    }
    if !backtests::cancel(tx, &row, at).await? {
        return Err(Fault::new(&reasons::VERSION_CONFLICT, "the back-test was changed since it was read"));
    }
    let row = backtests::by_id(tx, &tenant, &id).await?.ok_or_else(not_found)?;
    Ok(pb::CancelBacktestResponse { backtest: Some(present(&row, false)?) })
}
