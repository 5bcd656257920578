//! AlertService.

use contracts_controls::v1::{self as pb, alert_service_server::AlertService};
use runspine_controls_domain::alert::{
    Alert, AlertChannel, AlertKey, AlertMode, AlertResult, AlertSettings, AlertSeverity,
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status, timestamp};
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{
    app::settings::Change,
    store::alerts::{self as store, AlertFilter, AlertRow},
};

const DECIDE: &str = "runspine.controls.v1.AlertService/DecideAlert";
const SET: &str = "runspine.controls.v1.AlertService/SetAlertSettings";
/// How near a limit can be said to be, per mille.
const MOST_PERMILLE: u32 = 1_000_000;

#[tonic::async_trait]
impl AlertService for Rpc {
    async fn decide_alert(
        &self,
        request: Request<pb::DecideAlertRequest>,
    ) -> Result<Response<pb::DecideAlertResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let alert = parse(&request).map_err(status)?;
        let keyed = keyed(&context, DECIDE, &request.event_id, &request);
        self.app.decide_alert(keyed, alert).await.map(Response::new).map_err(status)
    }

    async fn get_alert_settings(
        &self,
        request: Request<pb::GetAlertSettingsRequest>,
    ) -> Result<Response<pb::GetAlertSettingsResponse>, Status> {
        let context = context(&request)?;
        let settings = self.app.alert_settings(&context.tenant_id).await.map_err(status)?;
        Ok(Response::new(pb::GetAlertSettingsResponse { settings: Some(settings) }))
    }

    async fn set_alert_settings(
        &self,
        request: Request<pb::SetAlertSettingsRequest>,
    ) -> Result<Response<pb::SetAlertSettingsResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let change = parse_change(&request).map_err(status)?;
        let keyed = keyed(&context, SET, &request.request_id, &request);
        self.app.set_alert_settings(keyed, change).await.map(Response::new).map_err(status)
    }

    async fn list_alert_decisions(
        &self,
        request: Request<pb::ListAlertDecisionsRequest>,
    ) -> Result<Response<pb::ListAlertDecisionsResponse>, Status> {
        let context = context(&request)?;
        let listed = self.alert_decisions(&context.tenant_id, request.into_inner()).await;
        listed.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn alert_decisions(
        &self,
        tenant: &str,
        request: pb::ListAlertDecisionsRequest,
    ) -> Result<pb::ListAlertDecisionsResponse, Fault> {
        let mut checks = Checks::default();
        checks.text("type", &request.r#type, 64);
        checks.filter("results", &request.results, AlertResult::from_code);
        checks.optional_id("run_id", &request.run_id);
        checks.text("limit_id", &request.limit_id, 128);
        let since = checks.time("since", request.since.as_ref());
        let until = checks.time("until", request.until.as_ref());
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare =
            pb::ListAlertDecisionsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("alert_decisions", tenant, &bare);
        let before = after(&request.page_token, query, i64::MAX)?;
        let stated = |text: String| (!text.is_empty()).then_some(text);
        let filter = AlertFilter {
            kind: stated(request.r#type),
            results: request.results,
            run_id: stated(request.run_id),
            limit_id: stated(request.limit_id),
            since,
            until,
        };
        let mut rows = store::list(self.app.db.read(), tenant, &filter, before, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.decision_key);
        let decisions = rows.into_iter().map(decision_to).collect();
        Ok(pb::ListAlertDecisionsResponse { decisions, next_page_token })
    }
}

fn parse(request: &pb::DecideAlertRequest) -> Result<Alert, Fault> {
    let mut checks = Checks::default();
    let plain = runspine_types::is_uuid(&request.event_id);
    checks.require(plain, &mesh::REQUEST_ID_REQUIRED, "event_id", "must be a UUID in lower case");
    checks.words_of("type", &request.r#type, 1, 64);
    let key = request.key.clone().unwrap_or_default();
    checks.words_of("key.scope", &key.scope, 1, 256);
    checks.text("key.limit_id", &key.limit_id, 128);
    checks.text("key.agent_id", &key.agent_id, 256);
    checks.optional_id("run_id", &request.run_id);
    let severity = checks.word("severity", request.severity, AlertSeverity::from_code);
    checks.words_of("domain", &request.domain, 1, 64);
    let near = request.proximity_permille.is_none_or(|permille| permille <= MOST_PERMILLE);
    checks.require(near, &mesh::FIELD_INVALID, "proximity_permille", "must be 0 to 1,000,000");
    let pb::AlertKey { scope, limit_id, agent_id } = key;
    checks.done(severity.map(|severity| Alert {
        kind: request.r#type.clone(),
        key: AlertKey { scope, limit_id, agent_id },
        run_id: request.run_id.clone(),
        severity,
        domain: request.domain.clone(),
        proximity_permille: request.proximity_permille,
        resolves: request.resolves,
    }))
}

fn parse_change(request: &pb::SetAlertSettingsRequest) -> Result<Change<pb::AlertSettings>, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    checks.reason(&request.reason, 10);
    let settings = request.settings.clone().unwrap_or_default();
    let mode = checks.word("settings.mode", settings.mode, AlertMode::from_code);
    checks.filter("settings.channels", &settings.channels, AlertChannel::from_code);
    let wanted = AlertSettings {
        near: settings.near,
        near_permille: settings.near_permille,
        breaches: settings.breaches,
        channels: settings.channels.iter().filter_map(|c| AlertChannel::from_code(*c)).collect(),
        min_interval_s: settings.min_interval_s,
        max_per_run: settings.max_per_run,
        mode: mode.unwrap_or(AlertMode::Enforce),
    };
    for (field, what) in wanted.wrong() {
        checks.require(false, &mesh::FIELD_INVALID, &format!("settings.{field}"), what);
    }
    let (expected, reason) = (request.expected_version, request.reason.clone());
    checks.done(Some(Change { expected, settings, reason }))
}

fn decision_to(row: AlertRow) -> pb::AlertDecision {
    pb::AlertDecision {
        event_id: row.event_id,
        r#type: row.kind,
        key: Some(pb::AlertKey { scope: row.scope, limit_id: row.limit_id, agent_id: row.agent_id }),
        run_id: row.run_id,
        severity: row.severity,
        domain: row.domain,
        proximity_permille: row.proximity_permille,
        resolves: row.resolves,
        finding: row.finding,
        result: row.result,
        mode: row.mode,
        count: row.count,
        decided_at: Some(timestamp(row.at)),
    }
}
