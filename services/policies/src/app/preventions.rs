//! What rules prevented that were learned from something: noted with the decision, and corrected when it did not help.

use contracts_policies::v1 as pb;
use runspine_db::OutboxEvent;
use runspine_errors::Fault;
use runspine_policies_domain::{decide::Ruling, words::PreventionOutcome};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{
    App, Keyed, Who,
    emit::{About, event},
    read::Page,
};
use crate::store::{
    lists::Filter,
    preventions::{self, PreventionRow},
};

/// The records of a decision.
pub(crate) fn of_decision(
    d: &pb::Decision,
    ruling: &Ruling,
    is_synthetic: bool,
    at: Micros,
) -> Vec<PreventionRow> {
    let one = |(m, outcome): (&runspine_policies_domain::decide::Match, PreventionOutcome)| PreventionRow {
        prevention_id: new_id(),
        decision_id: d.decision_id.clone(),
        rule_id: m.rule_id.clone(),
        version: m.version,
        signature: m.origin.clone(),
        run_id: d.run_id.clone(),
        attempt: d.attempt,
        step_index: d.step_index.map_or(-1, i64::from),
        outcome: outcome.code(),
        is_synthetic,
        at,
        ..PreventionRow::default()
    };
    ruling.preventions().map(one).collect()
}

/// What is told of a record.
pub(crate) fn told(who: &Who, p: &PreventionRow) -> OutboxEvent {
    let about = About {
        entity_type: "prevention",
        entity_id: p.prevention_id.clone(),
        run_id: p.run_id.clone(),
        attempt: p.attempt,
        step_index: u32::try_from(p.step_index).ok(),
        reason: p.signature.clone(),
        ..About::default()
    };
    let data = pb::PreventionRecorded {
        prevention_id: p.prevention_id.clone(),
        rule_id: p.rule_id.clone(),
        signature: p.signature.clone(),
        outcome: p.outcome,
        incident_id: p.incident_id.clone(),
    };
    event(who, "PreventionRecorded", about, &data, p.at)
}

pub(super) fn present(p: &PreventionRow) -> pb::Prevention {
    pb::Prevention {
        prevention_id: p.prevention_id.clone(),
        rule_id: p.rule_id.clone(),
        version: p.version,
        signature: p.signature.clone(),
        decision_id: p.decision_id.clone(),
        run_id: p.run_id.clone(),
        attempt: p.attempt,
        step_index: u32::try_from(p.step_index).ok(),
        outcome: p.outcome,
        rule_age_s: p.rule_at.map_or(0, |from| p.at.millis_since(from) / 1_000),
        incident_id: p.incident_id.clone(),
        of_prevention_id: p.of_prevention.clone(),
        is_synthetic: p.is_synthetic,
        at: Some(timestamp(p.at)),
    }
}

impl App {
    /// What was to be prevented happened: each record of it in the attempt is followed by one that says so.
    pub(crate) async fn record_prevention_outcome(
        &self,
        who: &Who,
        request: &pb::RecordPreventionOutcomeRequest,
    ) -> Result<pb::RecordPreventionOutcomeResponse, Fault> {
        let key = Keyed::by_request_id("policies.RecordPreventionOutcome", &request.request_id, request);
        let (who_, r, at) = (who.clone(), request.clone(), self.now());
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let run = (r.run_id.as_str(), r.attempt);
                let standing = preventions::standing(tx, &who_.tenant, run, &r.signature).await?;
                let failed = |row: PreventionRow| PreventionRow {
                    of_prevention: row.prevention_id.clone(),
                    prevention_id: new_id(),
                    outcome: PreventionOutcome::Failed.code(),
                    incident_id: r.incident_id.clone(),
                    at,
                    ..row
                };
                let failed: Vec<PreventionRow> = standing.into_iter().map(failed).collect();
                let preventions = failed.iter().map(present).collect();
                for record in &failed {
                    tx.emit_raw(told(&who_, record));
                }
                let tenant = who_.tenant.as_str();
                preventions::insert(tx, failed.into_iter().map(|p| (tenant, p))).await?;
                Ok(pb::RecordPreventionOutcomeResponse { preventions })
            })
        })
        .await
    }

    /// Records, newest first, with their keys.
    pub(crate) async fn preventions(
        &self,
        who: &Who,
        request: &pb::ListPreventionsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Prevention)>, Fault> {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let filter = Filter::tenant("p.tenant_id", &who.tenant)
            .and_if("p.rule_id =", some(&request.rule_id))
            .and_if("p.signature =", some(&request.signature))
            .and_if("p.run_id =", some(&request.run_id))
            .and_if("p.id <", page.before)
            .and_if("p.at >=", runspine_rpc::optional_micros(request.since.as_ref()))
            .and_if("p.at <", runspine_rpc::optional_micros(request.until.as_ref()))
            .any_of("p.outcome", &request.outcomes);
        let rows: Vec<PreventionRow> =
            filter.fetch(self.db.read(), preventions::PREVENTION, "p.id DESC", page.limit).await?;
        Ok(rows.iter().map(|r| (r.id, present(r))).collect())
    }
}
