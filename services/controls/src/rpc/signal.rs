//! SignalService: everything that controls has on a run.

use std::collections::BTreeSet;

use contracts_controls::v1::{self as pb, signal_service_server::SignalService};
use prost::Message as _;
use runspine_controls_domain::admission::FROZEN;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status, timestamp};
use tonic::{Request, Response, Status};

use super::{Rpc, budget_views::settlement_of, checks::Checks};
use crate::{
    app::freezes::record,
    store::{
        evidence::{self, BreachRow, EvidenceRow},
        rows::LeaseRow,
        views,
    },
};

/// Most admissions that are shown.
const MOST: i64 = 500;

#[tonic::async_trait]
impl SignalService for Rpc {
    async fn get_run_controls_evidence(
        &self,
        request: Request<pb::GetRunControlsEvidenceRequest>,
    ) -> Result<Response<pb::GetRunControlsEvidenceResponse>, Status> {
        let context = context(&request)?;
        self.evidence(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn evidence(
        &self,
        tenant: &str,
        request: pb::GetRunControlsEvidenceRequest,
    ) -> Result<pb::GetRunControlsEvidenceResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("run_id", &request.run_id);
        checks.done(Some(()))?;
        let read = self.app.db.read();
        let mut response = pb::GetRunControlsEvidenceResponse::default();
        for lease in views::leases(read, tenant, &request.run_id, request.attempt).await? {
            self.add_attempt(&lease, &mut response).await?;
        }
        let met = response.admissions.iter().filter_map(|a| a.admission.as_ref());
        let met = met.flat_map(|a| &a.reasons).filter(|r| r.code == FROZEN).map(|r| r.source_id.clone());
        let ids: BTreeSet<String> = met.collect();
        let now = self.app.clock.now();
        for row in evidence::freezes(read, &ids.into_iter().collect::<Vec<_>>()).await? {
            response.freezes.push(record(&row, None, now)?);
        }
        Ok(response)
    }

    async fn add_attempt(
        &self,
        lease: &LeaseRow,
        response: &mut pb::GetRunControlsEvidenceResponse,
    ) -> Result<(), Fault> {
        let read = self.app.db.read();
        let room = MOST - i64::try_from(response.admissions.len()).unwrap_or(MOST);
        for row in evidence::admissions(read, lease.run_key, room.max(0)).await? {
            response.admissions.push(evidence_to(lease, row)?);
        }
        for row in evidence::breaches(read, lease.run_key).await? {
            response.breaches.push(breach_to(lease, row)?);
        }
        if let Some(answer) = evidence::settlement(read, lease.run_key).await? {
            response.settlements.push(settlement_of(answer)?);
        }
        let (admissions, denied, holds, expired, late) = evidence::counts(read, lease.run_key).await?;
        response.admission_count += admissions;
        response.denied_count += denied;
        response.hold_count += holds;
        response.expired_hold_count += expired;
        response.late_charge_count += late;
        Ok(())
    }
}

fn unreadable<E>(_: E) -> Fault {
    Fault::new(&mesh::INTERNAL, "a stored record can't be read")
}

fn evidence_to(lease: &LeaseRow, row: EvidenceRow) -> Result<pb::EvaluationEvidence, Fault> {
    let inputs = pb::ControlInputs::decode(row.inputs.clone()).map_err(unreadable)?;
    let step_index = u32::try_from(row.step_index).ok();
    let (admission, hold_id) = if step_index.is_some() {
        let answer = pb::AdmitStepResponse::decode(row.answer).map_err(unreadable)?;
        (answer.admission, answer.hold.map(|h| h.hold_id).unwrap_or_default())
    } else {
        (pb::AdmitRunResponse::decode(row.answer).map_err(unreadable)?.admission, String::new())
    };
    Ok(pb::EvaluationEvidence {
        evidence_id: row.evidence_id,
        run_id: lease.run_id.clone(),
        attempt: lease.attempt,
        step_index,
        ask: row.ask,
        decision_id: row.decision_id,
        admission,
        limit_ids: inputs.envelopes.into_iter().map(|e| e.limit_id).collect(),
        fence: row.fence,
        resolver_version: row.resolver_version,
        inputs: row.inputs,
        inputs_digest: row.inputs_digest,
        hold_id,
        evaluated_at: Some(timestamp(row.evaluated_at)),
    })
}

fn breach_to(lease: &LeaseRow, row: BreachRow) -> Result<pb::Breach, Fault> {
    let spec = pb::LimitSpec::decode(row.spec).map_err(unreadable)?;
    Ok(pb::Breach {
        breach_id: row.breach_id,
        limit_id: row.limit_id,
        envelope_id: row.envelope_id,
        run_id: lease.run_id.clone(),
        attempt: lease.attempt,
        step_index: row.step_index,
        r#type: row.kind,
        value: row.value,
        limit_value: row.limit_value,
        unit: spec.unit,
        consequence: spec.consequence,
        breached_at: Some(timestamp(row.breached_at)),
    })
}
