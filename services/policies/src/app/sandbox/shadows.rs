//! Starting and stopping shadows, and what they saw.

use contracts_policies::v1 as pb;
use runspine_db::{Tx, args};
use runspine_errors::Fault;
use runspine_policies_domain::{
    reasons,
    sandbox::{
        backtest::Range,
        shadow::{MAX_ACTIVE, check, state},
        tally::Tally,
    },
    words::{NotReplayable, ShadowState, Verdict},
};
use runspine_types::{Micros, new_id};

use super::candidate::AskCandidate;
use crate::{
    app::{App, Keyed, Who, read::Page},
    present_sandbox,
    store::{
        diffs::DiffRow,
        lists::Filter,
        shadows::{self, CellRow, ChangeRow, NewShadow, ShadowRow},
    },
};

fn not_found() -> Fault {
    Fault::new(&reasons::SHADOW_NOT_FOUND, "there is no such shadow")
}

impl App {
    /// Starts to look at what is decided.
    pub(crate) async fn start_shadow(
        &self,
        who: &Who,
        request: &pb::StartShadowRequest,
        candidate: AskCandidate,
        ends_at: Micros,
    ) -> Result<pb::StartShadowResponse, Fault> {
        let key = Keyed::by_request_id("policies.StartShadow", &request.request_id, request);
        if let Some(answer) = self.answered(who, &key).await? {
            return Ok(answer);
        }
        let at = self.now();
        check(request.sample_permille, ends_at.0, at.0)?;
        let candidate = self.candidate(who, candidate).await?;
        let new = NewShadow {
            shadow_id: new_id(),
            base_digest: candidate.base,
            overlay: candidate.overlay.bytes(),
            candidate_digest: candidate.compiled.digest,
            sample_permille: request.sample_permille,
            ends_at,
            actor: (who.actor.r#type, who.actor.id.clone()),
            at,
        };
        let tenant = who.tenant.clone();
        let done = self.keyed(who, key, move |tx| Box::pin(start(tx, tenant, new))).await;
        self.shadows.changed();
        done
    }

    /// Stops one.
    pub(crate) async fn stop_shadow(
        &self,
        who: &Who,
        request: &pb::StopShadowRequest,
    ) -> Result<pb::StopShadowResponse, Fault> {
        let key = Keyed::by_request_id("policies.StopShadow", &request.request_id, request);
        let (tenant, id, at) = (who.tenant.clone(), request.shadow_id.clone(), self.now());
        let done = self.keyed(who, key, move |tx| Box::pin(stop(tx, tenant, id, at))).await;
        self.shadows.changed();
        done
    }

    /// Shadows, newest first, with their keys.
    pub(crate) async fn shadows(&self, who: &Who, page: Page) -> Result<Vec<(i64, pb::Shadow)>, Fault> {
        let filter = Filter::tenant("tenant_id", &who.tenant).and_if("id <", page.before);
        let rows: Vec<ShadowRow> =
            filter.fetch(self.db.read(), shadows::SHADOW, "id DESC", page.limit).await?;
        let now = self.now();
        Ok(rows.iter().map(|r| (r.id, present(r, now))).collect())
    }

    /// A shadow, and what its candidate would have changed so far.
    pub(crate) async fn shadow_report(
        &self,
        who: &Who,
        id: &str,
    ) -> Result<pb::GetShadowReportResponse, Fault> {
        let row = shadows::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        let now = self.now();
        let range = Range { since: row.created_at.0, until: row.ends_at.0.min(now.0), ..Range::default() };
        let mut tally = Tally::default();
        let read = self.db.read();
        let cells: Vec<CellRow> = read.fetch_all(shadows::CELLS, args![row.id]).await?;
        for cell in cells {
            match (NotReplayable::from_code(cell.refused), verdicts(cell.recorded, cell.candidate)) {
                (Some(why), _) => tally.not_replayable(why, &cell.detail.unwrap_or_default(), cell.seen),
                (None, Some((recorded, candidate))) => {
                    tally.counted(recorded, candidate, cell.counterfactual, cell.seen);
                }
                (None, None) => {}
            }
        }
        let changes: Vec<ChangeRow> = read.fetch_all(shadows::CHANGES, args![row.id]).await?;
        for change in changes {
            if let Some(recorded) = Verdict::from_code(change.recorded) {
                tally.turned(recorded, [&change.rule, &change.agent_id, &change.resource], change.seen);
            }
        }
        let examples: Vec<DiffRow> = read.fetch_all(shadows::EXAMPLES, args![row.id]).await?;
        examples.into_iter().filter_map(DiffRow::diff).for_each(|d| tally.example(&d));
        let affected: Vec<(i64,)> = read.fetch_all(shadows::AFFECTED, args![row.id]).await?;
        let affected: Vec<i64> = affected.into_iter().map(|(key,)| key).collect();
        tally.runs_affected = u64::try_from(affected.len()).unwrap_or(u64::MAX);
        tally.cost_affected = self.spent(&affected, i64::MAX).await?;
        let report = present_sandbox::report(row.candidate_digest, &range, &tally);
        Ok(pb::GetShadowReportResponse { shadow: Some(present(&row, now)), report: Some(report) })
    }
}

fn verdicts(recorded: i32, candidate: i32) -> Option<(Verdict, Verdict)> {
    Verdict::from_code(recorded).zip(Verdict::from_code(candidate))
}

fn state_of(row: &ShadowRow, now: Micros) -> ShadowState {
    let stored = ShadowState::from_code(row.state).unwrap_or(ShadowState::Stopped);
    state(stored, row.ends_at.0, now.0)
}

fn present(row: &ShadowRow, now: Micros) -> pb::Shadow {
    present_sandbox::shadow(row, state_of(row, now))
}

async fn start(tx: &mut Tx, tenant: String, new: NewShadow) -> Result<pb::StartShadowResponse, Fault> {
    let at = new.at;
    if shadows::count(tx, &tenant, at).await? >= MAX_ACTIVE {
        let text = format!("the tenant has {MAX_ACTIVE} shadows that look at what is decided");
        return Err(Fault::new(&reasons::SHADOW_QUOTA, text.clone()).quota("shadows", text));
    }
    let row = shadows::insert(tx, &tenant, new).await?;
    Ok(pb::StartShadowResponse { shadow: Some(present(&row, at)) })
}

async fn stop(tx: &mut Tx, tenant: String, id: String, at: Micros) -> Result<pb::StopShadowResponse, Fault> {
    let row = shadows::by_id(tx, &tenant, &id).await?.ok_or_else(not_found)?;
    let state = state_of(&row, at);
    if state != ShadowState::Active {
        let text = format!("the shadow is {}: it can't be stopped", state.as_str());
        let fault = Fault::new(&reasons::SHADOW_TRANSITION_INVALID, text);
        return Err(fault.precondition(format!("shadows/{id}"), "active"));
    }
    if !shadows::stop(tx, &row, at).await? {
        return Err(Fault::new(&reasons::VERSION_CONFLICT, "the shadow was changed since it was read"));
    }
    let row = shadows::by_id(tx, &tenant, &id).await?.ok_or_else(not_found)?;
    Ok(pb::StopShadowResponse { shadow: Some(present(&row, at)) })
}
