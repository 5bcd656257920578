//! `ReplayService`.

use std::{pin::Pin, sync::Arc};

use contracts_common::common::v1::{Directive, StepKind, StepOutcome, Verdict};
use contracts_logs::v1::{
    self as pb, ReplayBehaviour, ReplayLevel, ReplayResult, ReplayState, ReplayedStep,
    replay_service_server::ReplayService,
};
use futures::{Stream, stream};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_rpc::{context, status};
use runspine_types::{hash, is_code, is_uuid, is_uuid_v7};
use tonic::{Request, Response, Status, Streaming};

use super::{
    audit::fields::{Fields, page_after, page_key},
    present,
};
use crate::{
    app::{App, once::Once, replays::Checker},
    store::replays::Filter,
};

const START: &str = "runspine.logs.v1.ReplayService/StartReplay";
const FINISH: &str = "runspine.logs.v1.ReplayService/FinishReplay";
/// Most bytes of a text of a step.
const MAX_TEXT: usize = 1024 * 1024;
/// Most checks that are shown with a replay.
const MAX_CHECKS: u32 = 500;

/// Serves replays.
pub struct Replays {
    /// The use cases.
    pub app: Arc<App>,
}

#[tonic::async_trait]
impl ReplayService for Replays {
    async fn start_replay(
        &self,
        request: Request<pb::StartReplayRequest>,
    ) -> Result<Response<pb::StartReplayResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let once = Once::new(&call, START, &r.request_id, &r);
        ordered(&r).map_err(status)?;
        let answer = self.app.start_replay(&call, (once, r)).await;
        answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
    }

    type CheckReplayStepsStream =
        Pin<Box<dyn Stream<Item = Result<pb::CheckReplayStepsResponse, Status>> + Send>>;

    async fn check_replay_steps(
        &self,
        request: Request<Streaming<pb::CheckReplayStepsRequest>>,
    ) -> Result<Response<Self::CheckReplayStepsStream>, Status> {
        let call = context(&request)?;
        let tenant = call.tenant_id.clone();
        let reports =
            Reports { app: Arc::clone(&self.app), tenant, steps: request.into_inner(), checker: None };
        let answers = stream::try_unfold(Some(reports), |reports| async move {
            let Some(mut reports) = reports else { return Ok(None) };
            let Some(answer) = reports.next().await? else { return Ok(None) };
            let ends = reports.checker.as_ref().is_some_and(|checker| checker.ends_with(&answer));
            Ok(Some((answer, (!ends).then_some(reports))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn finish_replay(
        &self,
        request: Request<pb::FinishReplayRequest>,
    ) -> Result<Response<pb::FinishReplayResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let once = Once::new(&call, FINISH, &r.request_id, &r);
        let mut fields = Fields::new();
        fields.require(is_uuid(&r.replay_id), "replay_id", "is a UUID");
        fields.request_id(r.request_id);
        fields.done().map_err(status)?;
        let answer = self.app.finish_replay(&call, (once, r.replay_id)).await;
        answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
    }

    async fn get_replay(
        &self,
        request: Request<pb::GetReplayRequest>,
    ) -> Result<Response<pb::GetReplayResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let mut fields = Fields::new();
        fields.require(is_uuid(&r.replay_id), "replay_id", "is a UUID");
        fields.require(r.checks <= MAX_CHECKS, "checks", "is at most 500");
        fields.done().map_err(status)?;
        let found = self.app.get_replay(&call.tenant_id, &r.replay_id, (r.checks, r.plan)).await;
        found.map(Response::new).map_err(status)
    }

    async fn list_replays(
        &self,
        request: Request<pb::ListReplaysRequest>,
    ) -> Result<Response<pb::ListReplaysResponse>, Status> {
        let call = context(&request)?;
        self.list(&call.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

/// The steps of a stream, and what takes them once the first one said which replay they belong to.
struct Reports {
    app: Arc<App>,
    tenant: String,
    steps: Streaming<pb::CheckReplayStepsRequest>,
    checker: Option<Checker>,
}

impl Reports {
    /// The answer to the next step; none when the caller has said everything.
    async fn next(&mut self) -> Result<Option<pb::CheckReplayStepsResponse>, Status> {
        let Some(message) = self.steps.message().await? else { return Ok(None) };
        let step = reported(&message).map_err(status)?;
        let checker = match self.checker.take() {
            Some(checker) => checker,
            None => {
                let opened = Checker::open(&self.app, &self.tenant, &message.replay_id).await;
                opened.map_err(status)?
            }
        };
        let mut fields = Fields::new();
        let same = checker.replay_id() == message.replay_id;
        fields.require(same, "replay_id", "is the same in every message of a stream");
        fields.done().map_err(status)?;
        let answer = checker.check(step).await.map_err(status)?;
        self.checker = Some(checker);
        Ok(Some(answer))
    }
}

fn ordered(r: &pb::StartReplayRequest) -> Result<(), Fault> {
    let mut fields = Fields::new();
    fields.any::<ReplayLevel>("level", r.level);
    fields.require(is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
    fields.require(r.rules.len() <= 256, "rules", "are at most 256");
    for (n, rule) in r.rules.iter().enumerate().take(256) {
        fields.known::<ReplayBehaviour>(&format!("rules[{n}].behaviour"), rule.behaviour);
        let kind = fields.any::<StepKind>(&format!("rules[{n}].kind"), rule.kind);
        let one = rule.step_index.is_none() || kind == StepKind::Unspecified;
        fields.require(one, &format!("rules[{n}].kind"), "is not given beside step_index");
    }
    let timed = r.timeout_ms == 0 || (1_000..=3_600_000).contains(&r.timeout_ms);
    fields.require(timed, "timeout_ms", "is 1 000 to 3 600 000");
    let driven = &r.driven_run_id;
    let other = driven.is_empty() || (is_uuid_v7(driven) && *driven != r.run_id);
    fields.require(other, "driven_run_id", "is a UUIDv7, and another run");
    fields.request_id(r.request_id.clone());
    fields.done()
}

/// A step as it may be noted. What SKIP leaves out is not asked for here: the plan says what a step does.
fn reported(message: &pb::CheckReplayStepsRequest) -> Result<ReplayedStep, Fault> {
    let mut fields = Fields::new();
    fields.require(is_uuid(&message.replay_id), "replay_id", "is a UUID");
    fields.require(message.step.is_some(), "step", "must be set");
    let mut step = message.step.clone().unwrap_or_default();
    fields.require(step.replay_key.len() <= 128, "step.replay_key", "is at most 128 bytes");
    fields.any::<StepKind>("step.kind", step.kind);
    let outcome = fields.any::<StepOutcome>("step.outcome", step.outcome);
    fields.require(outcome != StepOutcome::Retried, "step.outcome", "is that of the last try");
    let coded = step.outcome_code.is_empty() || is_code(&step.outcome_code);
    fields.require(coded, "step.outcome_code", "is a code");
    step.name = fields.words("step.name", step.name, (0, 256));
    step.provider = fields.words("step.provider", step.provider, (0, 128));
    step.model = fields.words("step.model", step.model, (0, 256));
    let sides = [
        ("step.input", &step.input, "step.input_digest", &step.input_digest),
        ("step.parameters_json", &step.parameters_json, "step.parameters_digest", &step.parameters_digest),
        ("step.output", &step.output, "step.output_digest", &step.output_digest),
    ];
    for (text_field, text, digest_field, digest) in sides {
        fields.require(text.len() <= MAX_TEXT, text_field, "is at most 1 MiB");
        fields.digest(digest_field, digest);
        let one = text.is_empty() || digest.is_empty();
        fields.require(one, digest_field, "is not given beside the text");
    }
    fields.require(step.decisions.len() <= 32, "step.decisions", "are at most 32");
    for (n, decision) in step.decisions.iter().enumerate().take(32) {
        fields.known::<Verdict>(&format!("step.decisions[{n}].verdict"), decision.verdict);
        fields.any::<Directive>(&format!("step.decisions[{n}].directive"), decision.directive);
        let rules = decision.rule_ids.len() <= 64 && decision.rule_ids.iter().all(|id| id.len() <= 128);
        let what = "are at most 64 of at most 128 bytes";
        fields.require(rules, &format!("step.decisions[{n}].rule_ids"), what);
    }
    fields.done()?;
    Ok(step)
}

impl Replays {
    async fn list(&self, tenant: &str, r: pb::ListReplaysRequest) -> Result<pb::ListReplaysResponse, Fault> {
        let unpaged = pb::ListReplaysRequest { page_size: 0, page_token: String::new(), ..r.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let mut fields = Fields::new();
        let state = fields.any::<ReplayState>("state", r.state);
        let result = fields.any::<ReplayResult>("result", r.result);
        let size = fields.page_size(r.page_size);
        fields.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
        fields.done()?;
        let filter = Filter {
            run_id: (!r.run_id.is_empty()).then_some(r.run_id),
            finished: (state != ReplayState::Unspecified).then_some(state == ReplayState::Finished),
            result: (result != ReplayResult::Unspecified).then(|| result.into()),
        };
        let after = page_after(&r.page_token, query)?.map(|[at, id]| (at, id));
        let mut found = self.app.list_replays(tenant, &filter, after, size.probe()).await?;
        let next_page_token = size.cut(&mut found, query, |((at, id), _)| page_key([*at, *id]));
        Ok(pb::ListReplaysResponse {
            replays: found.into_iter().map(|(_, replay)| replay).collect(),
            next_page_token,
        })
    }
}
