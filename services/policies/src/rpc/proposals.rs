//! ProposalService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::proposal_service_server::ProposalService;
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    proposal::default_template,
    rule::Content,
    words::{ProposalKind, ProposalState},
};
use runspine_types::is_uuid_v7;
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse, parse_rule};
use crate::app::{
    Who,
    proposal::{decide::Proposed, make::Wish},
};

#[tonic::async_trait]
impl ProposalService for Rpc {
    async fn create_proposal(
        &self,
        request: Request<pb::CreateProposalRequest>,
    ) -> Result<Response<pb::CreateProposalResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse::request_id(&r.request_id).and(wish(&r)) {
            Ok(wish) => self.app.create_proposal(&who, &r, wish).await,
            Err(fault) => Err(fault),
        })
    }

    async fn update_proposal(
        &self,
        request: Request<pb::UpdateProposalRequest>,
    ) -> Result<Response<pb::UpdateProposalResponse>, Status> {
        let (who, r) = self.open(request)?;
        let words = words(&r.name, &r.rationale, &r.supporting_ids);
        let parsed = acted(&r.request_id, &r.proposal_id).and(words);
        let parsed = parsed.and(body(r.body.clone()));
        answer(match parsed {
            Ok((body, content)) => self.app.update_proposal(&who, &r, body, content).await,
            Err(fault) => Err(fault),
        })
    }

    async fn withdraw_proposal(
        &self,
        request: Request<pb::WithdrawProposalRequest>,
    ) -> Result<Response<pb::WithdrawProposalResponse>, Status> {
        let (who, r) = self.open(request)?;
        let done = match acted(&r.request_id, &r.proposal_id) {
            Ok(()) => self.app.withdraw_proposal(&who, &r).await,
            Err(fault) => Err(fault),
        };
        answer(done.map(|p| pb::WithdrawProposalResponse { proposal: Some(p) }))
    }

    async fn approve_proposal(
        &self,
        request: Request<pb::ApproveProposalRequest>,
    ) -> Result<Response<pb::ApproveProposalResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.approved(&who, &r).await)
    }

    async fn check_eligibility(
        &self,
        request: Request<pb::CheckEligibilityRequest>,
    ) -> Result<Response<pb::CheckEligibilityResponse>, Status> {
        let (who, r) = self.open(request)?;
        let mut v = Violations::new();
        v.require(
            is_signature(&r.pattern_signature),
            "pattern_signature",
            "ID_INVALID",
            "64 characters of lower-case hex",
        );
        answer(match v.into_result(&mesh::FIELD_INVALID) {
            Ok(()) => self.app.eligible(&who, &r.pattern_signature).await,
            Err(fault) => Err(fault),
        })
    }

    async fn reject_proposal(
        &self,
        request: Request<pb::RejectProposalRequest>,
    ) -> Result<Response<pb::RejectProposalResponse>, Status> {
        let (who, r) = self.open(request)?;
        let done = match acted(&r.request_id, &r.proposal_id) {
            Ok(()) => self.app.reject_proposal(&who, &r).await,
            Err(fault) => Err(fault),
        };
        answer(done.map(|p| pb::RejectProposalResponse { proposal: Some(p) }))
    }

    async fn get_proposal(
        &self,
        request: Request<pb::GetProposalRequest>,
    ) -> Result<Response<pb::GetProposalResponse>, Status> {
        let (who, r) = self.open(request)?;
        let found = match id(&r.proposal_id) {
            Ok(()) => self.app.proposal(&who, &r.proposal_id).await,
            Err(fault) => Err(fault),
        };
        answer(found.map(|p| pb::GetProposalResponse { proposal: Some(p) }))
    }

    async fn list_proposals(
        &self,
        request: Request<pb::ListProposalsRequest>,
    ) -> Result<Response<pb::ListProposalsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.listed_proposals(&who, r).await)
    }
}

impl Rpc {
    async fn approved(
        &self,
        who: &Who,
        r: &pb::ApproveProposalRequest,
    ) -> Result<pb::ApproveProposalResponse, Fault> {
        acted(&r.request_id, &r.proposal_id)?;
        let mut v = Violations::new();
        v.require(r.note.chars().count() <= 500, "note", "TOO_LONG", "at most 500 characters");
        let named = r.backtest_id.is_empty() || is_uuid_v7(&r.backtest_id);
        v.require(named, "backtest_id", "ID_INVALID", "a UUIDv7, or empty");
        v.into_result(&mesh::FIELD_INVALID)?;
        let body = self.app.proposed_body(who, &r.proposal_id).await?;
        let (content, rule_type) = parse_rule::stored(Some(body))?;
        self.app.approve_proposal(who, r, Proposed { content, rule_type }).await
    }

    async fn listed_proposals(
        &self,
        who: &Who,
        mut r: pb::ListProposalsRequest,
    ) -> Result<pb::ListProposalsResponse, Fault> {
        let mut v = Violations::new();
        parse::known(&mut v, "states", &r.states, ProposalState::from_code);
        parse::known(&mut v, "kinds", &r.kinds, ProposalKind::from_code);
        let named = r.source_run_id.is_empty() || is_uuid_v7(&r.source_run_id);
        v.require(named, "source_run_id", "ID_INVALID", "a UUIDv7, or empty");
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let asked = page::filtered(v, "proposals", &r.encode_to_vec(), size, &token)?;
        let rows = self.app.proposals(who, &r, asked.page()).await?;
        let (proposals, next_page_token) = asked.cut(rows);
        Ok(pb::ListProposalsResponse { proposals, next_page_token })
    }
}

/// The rule of a proposal as it is kept, and what it says.
pub(super) fn body(asked: Option<pb::RuleContent>) -> Result<(pb::RuleContent, Content), Fault> {
    let body = parse_rule::written(asked)?;
    let (content, _) = parse_rule::stored(Some(body.clone()))?;
    Ok((body, content))
}

/// Whether a text names a pattern.
fn is_signature(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn id(proposal_id: &str) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require(is_uuid_v7(proposal_id), "proposal_id", "ID_INVALID", "a UUIDv7");
    v.into_result(&mesh::FIELD_INVALID)
}

fn acted(request_id: &str, proposal_id: &str) -> Result<(), Fault> {
    parse::request_id(request_id).and(id(proposal_id))
}

fn words(name: &str, rationale: &str, supporting: &[String]) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require((1..=120).contains(&name.chars().count()), "name", "OUT_OF_RANGE", "1 to 120 characters");
    v.require(rationale.chars().count() <= 4_000, "rationale", "TOO_LONG", "at most 4,000 characters");
    let fits = supporting.len() <= 64 && supporting.iter().all(|s| (1..=128).contains(&s.len()));
    v.require(fits, "supporting_ids", "OUT_OF_RANGE", "at most 64 ids of 1 to 128 characters");
    v.into_result(&mesh::FIELD_INVALID)
}

fn wish(r: &pb::CreateProposalRequest) -> Result<Wish, Fault> {
    words(&r.name, &r.rationale, &r.supporting_ids)?;
    let mut v = Violations::new();
    let kind = if r.kind == 0 { Some(ProposalKind::Custom) } else { ProposalKind::from_code(r.kind) };
    v.require(kind.is_some(), "kind", "ENUM_UNKNOWN", "a known kind");
    let word = |c: u8| c.is_ascii_lowercase() || c == b'_';
    let fits = r.source_kind.len() <= 32 && r.source_kind.bytes().all(word);
    v.require(fits, "source_kind", "OUT_OF_RANGE", "[a-z_]{1,32}, or empty");
    let fits = r.source_kind.is_empty() == r.source_id.is_empty() && r.source_id.len() <= 128;
    v.require(fits, "source_id", "OUT_OF_RANGE", "at most 128 characters, with source_kind and only then");
    let named = r.source_run_id.is_empty() || is_uuid_v7(&r.source_run_id);
    v.require(named, "source_run_id", "ID_INVALID", "a UUIDv7, or empty");
    let fits = r.pattern_signature.is_empty() || is_signature(&r.pattern_signature);
    v.require(fits, "pattern_signature", "ID_INVALID", "64 characters of lower-case hex, or empty");
    v.into_result(&mesh::FIELD_INVALID)?;
    let kind = kind.unwrap_or(ProposalKind::Custom);
    let (asked, drafted) = drafted(kind, &r.request_id, r.body.clone().unwrap_or_default());
    let (body, content) = body(Some(asked))?;
    Ok(Wish {
        kind,
        name: r.name.clone(),
        rationale: r.rationale.clone(),
        body,
        content,
        supporting_ids: r.supporting_ids.clone(),
        source_kind: r.source_kind.clone(),
        source_id: r.source_id.clone(),
        source_run_id: r.source_run_id.clone(),
        pattern: r.pattern_signature.clone(),
        drafted,
    })
}

/// The body that is asked for; where it has none of its own, the default template of the kind is its body.
pub(super) fn drafted(
    kind: ProposalKind,
    request_id: &str,
    mut body: pb::RuleContent,
) -> (pb::RuleContent, bool) {
    let named = body.template.as_ref().is_some_and(|t| !t.template_id.is_empty());
    let own = !body.cedar.is_empty() || body.sequence.is_some() || named;
    let Some((id, preset)) = default_template(kind).filter(|_| !own) else { return (body, false) };
    let template = body.template.get_or_insert_default();
    template.template_id = id.to_owned();
    for (name, value) in preset {
        if !template.arguments.iter().any(|a| a.name == *name) {
            let (name, values) = ((*name).to_owned(), vec![(*value).to_owned()]);
            template.arguments.push(pb::TemplateArgument { name, values });
        }
    }
    if body.slug.is_empty() {
        body.slug = format!("{}-{request_id}", kind.as_str()).to_lowercase().replace('_', "-");
    }
    (body, true)
}
