//! SignalService: everything that controls has on a run.

use std::collections::BTreeSet;

use contracts_controls::v1::{self as pb, signal_service_server::SignalService};
use prost::Message as _;
use runspine_controls_domain::{
    admission::FROZEN,
    signal::{RiskLevel, SignalType},
    words::BreachType,
};
use runspine_errors::Fault;
use runspine_rpc::{context, status, timestamp};
use tonic::{Request, Response, Status};

use super::{
    Rpc, after, after_text,
    budget_views::settlement_of,
    checks::Checks,
    cut, cut_text,
    evidence::{evidence_to, inputs_of, unreadable},
    query_of,
};
use crate::{
    app::{freezes::record, overrides::use_to},
    store::{
        evidence, overrides,
        rows::LeaseRow,
        signals::{self, FoundBreach, FoundFilter, SignalRow},
        views,
    },
    words::optional,
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

    async fn list_signals(
        &self,
        request: Request<pb::ListSignalsRequest>,
    ) -> Result<Response<pb::ListSignalsResponse>, Status> {
        let context = context(&request)?;
        self.signals(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_breaches(
        &self,
        request: Request<pb::ListBreachesRequest>,
    ) -> Result<Response<pb::ListBreachesResponse>, Status> {
        let context = context(&request)?;
        self.breaches(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_evaluation_evidence(
        &self,
        request: Request<pb::ListEvaluationEvidenceRequest>,
    ) -> Result<Response<pb::ListEvaluationEvidenceResponse>, Status> {
        let context = context(&request)?;
        let listed = self.evaluation_evidence(&context.tenant_id, request.into_inner()).await;
        listed.map(Response::new).map_err(status)
    }

    async fn link_breach_incident(
        &self,
        request: Request<pb::LinkBreachIncidentRequest>,
    ) -> Result<Response<pb::LinkBreachIncidentResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.id("breach_id", &request.breach_id);
        checks.words_of("incident_id", &request.incident_id, 1, 128);
        checks.done(Some(())).map_err(status)?;
        let linked =
            self.app.link_breach(context.tenant_id.clone(), request.breach_id, request.incident_id).await;
        linked.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn signals(
        &self,
        tenant: &str,
        request: pb::ListSignalsRequest,
    ) -> Result<pb::ListSignalsResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("run_id", &request.run_id);
        checks.text("limit_id", &request.limit_id, 64);
        checks.filter("types", &request.types, SignalType::from_code);
        checks.filter("levels", &request.levels, RiskLevel::from_code);
        let since = checks.time("since", request.since.as_ref());
        let until = checks.time("until", request.until.as_ref());
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListSignalsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("signals", tenant, &bare);
        let filter = FoundFilter {
            run_id: stated(request.run_id),
            limit_id: stated(request.limit_id),
            types: request.types,
            levels: request.levels,
            since,
            until,
            limit: size.probe(),
        };
        let behind = after(&request.page_token, query, 0)?;
        let mut rows = signals::signals(self.app.db.read(), tenant, &filter, behind).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.signal_key);
        Ok(pb::ListSignalsResponse { signals: rows.into_iter().map(signal_to).collect(), next_page_token })
    }

    async fn breaches(
        &self,
        tenant: &str,
        request: pb::ListBreachesRequest,
    ) -> Result<pb::ListBreachesResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("run_id", &request.run_id);
        checks.optional_id("limit_id", &request.limit_id);
        checks.filter("types", &request.types, BreachType::from_code);
        let since = checks.time("since", request.since.as_ref());
        let until = checks.time("until", request.until.as_ref());
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListBreachesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("breaches", tenant, &bare);
        let filter = FoundFilter {
            run_id: stated(request.run_id),
            limit_id: stated(request.limit_id),
            types: request.types,
            levels: Vec::new(),
            since,
            until,
            limit: size.probe(),
        };
        let behind = after_text(&request.page_token, query)?;
        let mut rows = signals::breaches(self.app.db.read(), tenant, &filter, &behind).await?;
        let next_page_token = cut_text(&mut rows, size, query, |row| row.breach_id.clone());
        let breaches = rows.into_iter().map(breach_to).collect::<Result<_, Fault>>()?;
        Ok(pb::ListBreachesResponse { breaches, next_page_token })
    }

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
        let of_run = FoundFilter { run_id: Some(request.run_id), limit: MOST, ..FoundFilter::default() };
        let mine = |attempt: Option<u32>| request.attempt == 0 || attempt == Some(request.attempt);
        for row in signals::breaches(read, tenant, &of_run, "").await?.into_iter().filter(|r| mine(r.attempt))
        {
            response.breaches.push(breach_to(row)?);
        }
        let found = signals::signals(read, tenant, &of_run, 0).await?.into_iter().filter(|r| mine(r.attempt));
        response.signals = found.map(signal_to).collect();
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
            let inputs = inputs_of(&row)?;
            response.admissions.push(evidence_to(&lease.run_id, lease.attempt, row, inputs)?);
        }
        let uses = overrides::uses_of_run(read, lease.run_key, MOST).await?;
        response.override_uses.extend(uses.into_iter().map(use_to));
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

fn breach_to(row: FoundBreach) -> Result<pb::Breach, Fault> {
    let spec = pb::LimitSpec::decode(row.spec).map_err(unreadable)?;
    Ok(pb::Breach {
        breach_id: row.breach_id,
        limit_id: row.limit_id,
        // Only a budget has an envelope that can be asked for.
        envelope_id: if spec.period == 0 { String::new() } else { row.envelope_id },
        run_id: row.run_id.unwrap_or_default(),
        attempt: row.attempt.unwrap_or(0),
        step_index: row.step_index,
        r#type: row.kind,
        value: row.value,
        limit_value: row.limit_value,
        unit: spec.unit,
        consequence: spec.consequence,
        breached_at: Some(timestamp(row.breached_at)),
        recovered_at: optional(row.recovered_at),
        recovery: row.cause.unwrap_or_default(),
        incident_id: row.incident_id.unwrap_or_default(),
        override_id: row.override_id.unwrap_or_default(),
        limit_name: spec.name,
        category: spec.category,
        scope_id: row.scope_id,
    })
}

fn signal_to(row: SignalRow) -> pb::Signal {
    pb::Signal {
        signal_id: row.signal_id,
        run_id: row.run_id.unwrap_or_default(),
        attempt: row.attempt.unwrap_or(0),
        r#type: row.kind,
        source: row.source,
        level: row.level,
        metric: row.metric,
        unit: row.unit,
        current: row.current,
        limit_value: row.limit_value,
        proximity_permille: u32::try_from(row.permille).unwrap_or(u32::MAX),
        step_index: row.step_index,
        at: Some(timestamp(row.raised_at)),
    }
}

fn stated(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
