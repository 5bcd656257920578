//! GuardrailService.

use contracts_controls::v1::{self as pb, guardrail_service_server::GuardrailService};
use runspine_controls_domain::{
    guardrail::{Guardrail, Setting},
    words::LimitState,
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, context, status};
use runspine_types::PLATFORM_TENANT;
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::guardrails::{StepsEnded, Wish, guardrail_to},
    store::guardrails as store,
};

const SET: &str = "runspine.controls.v1.GuardrailService/SetGuardrail";
const REPORT: &str = "runspine.controls.v1.GuardrailService/ReportSteps";
/// Steps that one report may speak of.
const MOST_STEPS: u32 = 1_000_000;

#[tonic::async_trait]
impl GuardrailService for Rpc {
    async fn list_guardrails(
        &self,
        request: Request<pb::ListGuardrailsRequest>,
    ) -> Result<Response<pb::ListGuardrailsResponse>, Status> {
        let context = context(&request)?;
        self.guardrails(&context.tenant_id, &request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn set_guardrail(
        &self,
        request: Request<pb::SetGuardrailRequest>,
    ) -> Result<Response<pb::SetGuardrailResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let wish = parse_set(&context, &request).map_err(status)?;
        let keyed = keyed(&context, SET, &request.request_id, &request);
        self.app.set_guardrail(keyed, wish).await.map(Response::new).map_err(status)
    }

    async fn report_steps(
        &self,
        request: Request<pb::ReportStepsRequest>,
    ) -> Result<Response<pb::ReportStepsResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let ended = parse_report(&request).map_err(status)?;
        let keyed = keyed(&context, REPORT, &request.report_id, &request);
        self.app.report_steps(keyed, ended).await.map(Response::new).map_err(status)
    }
}

impl Rpc {
    /// The table is the code's; the store says what the tenant has of it.
    async fn guardrails(
        &self,
        tenant: &str,
        request: &pb::ListGuardrailsRequest,
    ) -> Result<pb::ListGuardrailsResponse, Fault> {
        let mut checks = Checks::default();
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let query = query_of("guardrails", tenant, &pb::ListGuardrailsRequest::default());
        let behind = after(&request.page_token, query, 0)?;
        let defaults = self.app.guardrails.unwrap_or_default();
        let mut known = store::all(self.app.db.read(), tenant).await?;
        known.extend(defaults.missing(tenant, &known, self.app.clock.now()));
        let rows = Guardrail::ALL.iter().copied().filter(|guardrail| i64::from(guardrail.code()) > behind);
        let of = |guardrail: Guardrail| known.iter().find(|limit| Guardrail::of(limit) == Some(guardrail));
        let mut rows: Vec<pb::Guardrail> =
            rows.filter_map(|guardrail| Some(guardrail_to(guardrail, of(guardrail)?, defaults))).collect();
        rows.truncate(usize::try_from(size.probe()).unwrap_or(usize::MAX));
        let next_page_token = cut(&mut rows, size, query, |row| i64::from(row.priority));
        Ok(pb::ListGuardrailsResponse { guardrails: rows, next_page_token })
    }
}

fn parse_set(context: &Context, request: &pb::SetGuardrailRequest) -> Result<Wish, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    let guardrail = Guardrail::named(&request.guardrail_id);
    checks.require(guardrail.is_some(), &mesh::FIELD_INVALID, "guardrail_id", "is no guardrail's");
    let state = checks.optional_word("state", request.state, LimitState::from_code);
    let stated = request.value.is_some() || request.state != 0;
    checks.require(stated, &mesh::FIELD_INVALID, "value", "nothing is changed");
    checks.reason(&request.reason, 10);
    checks.text("tenant_id", &request.tenant_id, 128);
    let named = context.tenant_id != PLATFORM_TENANT || !request.tenant_id.is_empty();
    checks.require(named, &mesh::FIELD_INVALID, "tenant_id", "an operator names the tenant");
    checks.done(guardrail.map(|guardrail| Wish {
        guardrail,
        setting: Setting { value: request.value, state },
        reason: request.reason.clone(),
        tenant_id: request.tenant_id.clone(),
    }))
}

fn parse_report(request: &pb::ReportStepsRequest) -> Result<StepsEnded, Fault> {
    let mut checks = Checks::default();
    let plain = runspine_types::is_uuid(&request.report_id);
    checks.require(plain, &mesh::REQUEST_ID_REQUIRED, "report_id", "must be a UUID in lower case");
    checks.words_of("agent_id", &request.agent_id, 1, 128);
    let some = (1..=MOST_STEPS).contains(&request.steps);
    checks.require(some, &mesh::FIELD_INVALID, "steps", "must be 1 to 1,000,000");
    let part = request.failed <= request.steps;
    checks.require(part, &mesh::FIELD_INVALID, "failed", "is more than all");
    let ended =
        StepsEnded { agent_id: request.agent_id.clone(), steps: request.steps, failed: request.failed };
    checks.done(Some(ended))
}
