//! RuleService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::rule_service_server::RuleService;
use prost::Message as _;
use runspine_errors::{Fault, Violations};
use runspine_policies_domain::{
    compile::slice_keys,
    template::{Expanded, TEMPLATES},
    text::{self, cedar_text},
    words::{Category, Mode, RuleState, RuleType, Scope, Source},
};
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse, parse_rule};
use crate::{present, present_template};

#[tonic::async_trait]
impl RuleService for Rpc {
    async fn create_rule(
        &self,
        request: Request<pb::CreateRuleRequest>,
    ) -> Result<Response<pb::CreateRuleResponse>, Status> {
        let (who, request) = self.open(request)?;
        let parsed = parse::request_id(&request.request_id).and(parse_rule::content(request.content.clone()));
        answer(match parsed {
            Ok((content, rule_type)) => self.app.create_rule(&who, &request, content, rule_type).await,
            Err(fault) => Err(fault),
        })
    }

    async fn update_rule(
        &self,
        request: Request<pb::UpdateRuleRequest>,
    ) -> Result<Response<pb::UpdateRuleResponse>, Status> {
        let (who, request) = self.open(request)?;
        let parsed = parse::request_id(&request.request_id).and(parse_rule::content(request.content.clone()));
        answer(match parsed {
            Ok((content, rule_type)) => self.app.update_rule(&who, &request, content, rule_type).await,
            Err(fault) => Err(fault),
        })
    }

    async fn validate_rule(
        &self,
        request: Request<pb::ValidateRuleRequest>,
    ) -> Result<Response<pb::ValidateRuleResponse>, Status> {
        let (_, request) = self.open(request)?;
        answer(validate(request))
    }

    async fn activate_rule(
        &self,
        request: Request<pb::ActivateRuleRequest>,
    ) -> Result<Response<pb::ActivateRuleResponse>, Status> {
        let (who, request) = self.open(request)?;
        answer(match parse::request_id(&request.request_id) {
            Ok(()) => self.app.activate_rule(&who, &request).await,
            Err(fault) => Err(fault),
        })
    }

    async fn set_rule_mode(
        &self,
        request: Request<pb::SetRuleModeRequest>,
    ) -> Result<Response<pb::SetRuleModeResponse>, Status> {
        let (who, request) = self.open(request)?;
        answer(match parse::request_id(&request.request_id).and(parse_rule::mode(request.mode)) {
            Ok(mode) => self.app.set_rule_mode(&who, &request, mode).await,
            Err(fault) => Err(fault),
        })
    }

    async fn retire_rule(
        &self,
        request: Request<pb::RetireRuleRequest>,
    ) -> Result<Response<pb::RetireRuleResponse>, Status> {
        let (who, request) = self.open(request)?;
        answer(match parse::request_id(&request.request_id) {
            Ok(()) => self.app.retire_rule(&who, &request).await,
            Err(fault) => Err(fault),
        })
    }

    async fn get_rule(
        &self,
        request: Request<pb::GetRuleRequest>,
    ) -> Result<Response<pb::GetRuleResponse>, Status> {
        let (who, request) = self.open(request)?;
        answer(self.app.rule(&who, &request.rule_id, request.version).await)
    }

    async fn list_rules(
        &self,
        request: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        let (who, mut request) = self.open(request)?;
        let (size, token) = (request.page_size, std::mem::take(&mut request.page_token));
        request.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "states", &request.states, RuleState::from_code);
        parse::known(&mut v, "modes", &request.modes, Mode::from_code);
        parse::known(&mut v, "scopes", &request.scopes, Scope::from_code);
        parse::known(&mut v, "categories", &request.categories, Category::from_code);
        parse::known(&mut v, "sources", &request.sources, Source::from_code);
        answer(match page::filtered(v, "rules", &request.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.rules(&who, &request, asked.page()).await.map(|rows| {
                let (rules, next_page_token) = asked.cut(rows);
                pb::ListRulesResponse { rules, next_page_token }
            }),
        })
    }

    async fn list_rule_versions(
        &self,
        request: Request<pb::ListRuleVersionsRequest>,
    ) -> Result<Response<pb::ListRuleVersionsResponse>, Status> {
        let (who, r) = self.open(request)?;
        let asked = page::asked("rule_versions", r.rule_id.as_bytes(), r.page_size, &r.page_token);
        answer(match asked {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.rule_versions(&who, &r.rule_id, asked.page()).await.map(|rows| {
                let rows = rows.into_iter().map(|r| (i64::from(r.version), r)).collect();
                let (versions, next_page_token) = asked.cut(rows);
                pb::ListRuleVersionsResponse { versions, next_page_token }
            }),
        })
    }

    async fn list_templates(
        &self,
        request: Request<pb::ListTemplatesRequest>,
    ) -> Result<Response<pb::ListTemplatesResponse>, Status> {
        let (_, r) = self.open(request)?;
        answer(templates(r))
    }
}

/// The slug that a body is looked at with which belongs to no rule yet.
const SLUG_OF_NOBODY: &str = "rule";

fn templates(mut r: pb::ListTemplatesRequest) -> Result<pb::ListTemplatesResponse, Fault> {
    let wanted = RuleType::from_code(r.rule_type);
    let mut v = Violations::new();
    v.require(r.rule_type == 0 || wanted.is_some(), "rule_type", "ENUM_UNKNOWN", "a known type");
    let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
    r.page_size = 0;
    let asked = page::filtered(v, "templates", &r.encode_to_vec(), size, &token)?;
    let fitting = TEMPLATES.iter().filter(|t| wanted.is_none_or(|w| t.rule_type == w));
    let (templates, next_page_token) = asked.cut_of(fitting.map(present_template::template));
    Ok(pb::ListTemplatesResponse { templates, next_page_token })
}

fn validate(request: pb::ValidateRuleRequest) -> Result<pb::ValidateRuleResponse, Fault> {
    let (body, mode) = parse_rule::body(request, SLUG_OF_NOBODY)?;
    let found = match body {
        Expanded::Cedar(cedar) => text::check(&cedar, None, mode),
        Expanded::Sequence(body) => body.checked(SLUG_OF_NOBODY, mode),
    };
    Ok(pb::ValidateRuleResponse {
        findings: found.findings.iter().map(|f| present::finding(f, "", 0)).collect(),
        slice_keys: found.policy.as_ref().map(slice_keys).unwrap_or_default(),
        normalized: found.policy.as_ref().and_then(cedar_text).unwrap_or_default(),
    })
}
