//! ViolationService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::violation_service_server::ViolationService;
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    text::is_reason,
    words::{PreventionOutcome, Severity, ViolationKind},
};
use runspine_types::{Digest, is_uuid_v7};
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse};
use crate::app::Who;

#[tonic::async_trait]
impl ViolationService for Rpc {
    async fn report_violation(
        &self,
        request: Request<pb::ReportViolationRequest>,
    ) -> Result<Response<pb::ReportViolationResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match check(&r) {
            Ok(()) => self.app.report_violation(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn record_prevention_outcome(
        &self,
        request: Request<pb::RecordPreventionOutcomeRequest>,
    ) -> Result<Response<pb::RecordPreventionOutcomeResponse>, Status> {
        let (who, r) = self.open(request)?;
        let mut v = Violations::new();
        v.require(is_uuid_v7(&r.run_id), "run_id", "ID_INVALID", "a UUIDv7");
        v.require(r.attempt >= 1, "attempt", "OUT_OF_RANGE", "from 1");
        v.require((1..=128).contains(&r.signature.len()), "signature", "OUT_OF_RANGE", "1 to 128 characters");
        let fits = (1..=128).contains(&r.incident_id.len());
        v.require(fits, "incident_id", "OUT_OF_RANGE", "1 to 128 characters");
        answer(match parse::request_id(&r.request_id).and(v.into_result(&mesh::FIELD_INVALID)) {
            Ok(()) => self.app.record_prevention_outcome(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn list_preventions(
        &self,
        request: Request<pb::ListPreventionsRequest>,
    ) -> Result<Response<pb::ListPreventionsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let mut v = Violations::new();
        parse::known(&mut v, "outcomes", &r.outcomes, PreventionOutcome::from_code);
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        answer(match page::filtered(v, "preventions", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.preventions(&who, &r, asked.page()).await.map(|rows| {
                let (preventions, next_page_token) = asked.cut(rows);
                pb::ListPreventionsResponse { preventions, next_page_token }
            }),
        })
    }

    async fn get_violation(
        &self,
        request: Request<pb::GetViolationRequest>,
    ) -> Result<Response<pb::GetViolationResponse>, Status> {
        let (who, r) = self.open(request)?;
        let mut v = Violations::new();
        v.require(is_uuid_v7(&r.violation_id), "violation_id", "ID_INVALID", "a UUIDv7");
        answer(match v.into_result(&mesh::FIELD_INVALID) {
            Ok(()) => {
                let found = self.app.violation(&who, &r.violation_id).await;
                found.map(|v| pb::GetViolationResponse { violation: Some(v) })
            }
            Err(fault) => Err(fault),
        })
    }

    async fn list_violations(
        &self,
        request: Request<pb::ListViolationsRequest>,
    ) -> Result<Response<pb::ListViolationsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.violations_of(&who, r).await)
    }
}

impl Rpc {
    async fn violations_of(
        &self,
        who: &Who,
        mut r: pb::ListViolationsRequest,
    ) -> Result<pb::ListViolationsResponse, Fault> {
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "kinds", &r.kinds, ViolationKind::from_code);
        parse::known(&mut v, "severities", &r.severities, Severity::from_code);
        let asked = page::filtered(v, "violations", &r.encode_to_vec(), size, &token)?;
        let rows = self.app.violations(who, &r, asked.page()).await?;
        let (violations, next_page_token) = asked.cut(rows);
        Ok(pb::ListViolationsResponse { violations, next_page_token })
    }
}

fn check(r: &pb::ReportViolationRequest) -> Result<(), Fault> {
    parse::request_id(&r.request_id)?;
    let mut v = Violations::new();
    parse::attempt(&mut v, &r.run_id, r.attempt);
    v.require((1..=128).contains(&r.rule_id.len()), "rule_id", "OUT_OF_RANGE", "1 to 128 characters");
    v.require(is_reason(&r.rule_code), "rule_code", "OUT_OF_RANGE", "[A-Z][A-Z0-9_]{2,63}");
    v.require(ViolationKind::from_code(r.kind).is_some(), "kind", "ENUM_UNKNOWN", "a known kind");
    v.require(Severity::from_code(r.severity).is_some(), "severity", "ENUM_UNKNOWN", "a known severity");
    let short = |text: &str, most: usize| text.chars().count() <= most;
    v.require(short(&r.value, 256), "value", "TOO_LONG", "at most 256 characters");
    v.require(short(&r.threshold, 256), "threshold", "TOO_LONG", "at most 256 characters");
    v.require(short(&r.reason, 500), "reason", "TOO_LONG", "at most 500 characters");
    v.require(r.evidence.len() <= 16, "evidence", "OUT_OF_RANGE", "at most 16");
    for (n, e) in r.evidence.iter().enumerate() {
        let field = format!("evidence[{n}]");
        v.require(Digest::from_slice(&e.digest).is_some(), &field, "DIGEST_INVALID", "a digest of 32 bytes");
        v.require(
            short(&e.kind, 64) && !e.kind.is_empty(),
            &field,
            "OUT_OF_RANGE",
            "a kind of 1 to 64 characters",
        );
        v.require(short(&e.note, 200), &field, "TOO_LONG", "a note of at most 200 characters");
    }
    v.into_result(&mesh::FIELD_INVALID)
}
