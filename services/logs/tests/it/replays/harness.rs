//! A recorded run of three steps, and whoever does it again.

use contracts_common::common::v1::{GovernanceProfile, RunSource, StepKind, StepOutcome, Verdict};
use contracts_logs::v1::{self as pb, replay_service_client::ReplayServiceClient};
use runspine_logs_domain::chain::{parameters_digest, payload_digest};
use runspine_rpc::Transport;
use runspine_testkit::{run, test_id};

use crate::{
    payloads::harness::{LOG_PROMPT, LOG_RESPONSE, output, step_of},
    traces::harness::{Answer, House, decided, sealing, start, step},
};

pub const OUTPUTS: [&str; 3] = [r#"{"answer":"yes","n":1}"#, r#"{"refunded":true}"#, "three rows"];
const NAMES: [&str; 3] = ["small-model", "refund_payment", "orders"];
const KINDS: [StepKind; 3] = [StepKind::LlmCall, StepKind::ToolCall, StepKind::DataAccess];
const PARAMETERS: [&str; 3] = [r#"{"t":0}"#, r#"{"cents":900}"#, r#"{"q":"all"}"#];

/// Records and seals a run whose outputs are stored. A policy decided about its first two steps, and nobody about the
/// third.
pub async fn recorded(house: &House, number: u64) -> pb::SealTraceResponse {
    recorded_with(house, number, LOG_PROMPT | LOG_RESPONSE).await
}

pub async fn recorded_with(house: &House, number: u64, allowed: u32) -> pb::SealTraceResponse {
    house.declare(number, 1).await;
    let order = pb::StartTraceRequest {
        inspection_allowed: allowed,
        source: RunSource::Agent.into(),
        profile: GovernanceProfile::Standard.into(),
        ..start(number, 1)
    };
    let begun = house.start(order).await.unwrap();
    for index in 0..3_u32 {
        let decision = format!("d{index}");
        if index < 2 {
            house.one(number, decided(&decision, Some(index), Verdict::Allow)).await.unwrap();
        }
        let named = if index < 2 { decision.as_str() } else { "" };
        let at = index as usize;
        let mut item = step(&format!("s{index}"), index, named);
        item.payloads = vec![output(OUTPUTS[at])];
        let done = step_of(&mut item);
        done.set_kind(KINDS[at]);
        done.name = NAMES[at].into();
        done.output_digest = raw(payload_digest(&begun.digest_salt, OUTPUTS[at].as_bytes()));
        done.parameters_digest = raw(parameters_digest(&begun.parameter_key, PARAMETERS[at].as_bytes()));
        (done.provider, done.model) = ("provider-1".into(), "model-1".into());
        house.one(number, item).await.unwrap();
    }
    house.settle(number, 1).await;
    house.seal(sealing(number, 1)).await.unwrap()
}

fn raw(digest: runspine_types::Digest) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(digest.as_bytes())
}

pub fn client(house: &House) -> ReplayServiceClient<Transport> {
    ReplayServiceClient::new(house.way.clone())
}

pub fn order(id: u64, number: u64, level: pb::ReplayLevel) -> pb::StartReplayRequest {
    pb::StartReplayRequest {
        request_id: test_id(50, id),
        run_id: run(number),
        level: level.into(),
        ..Default::default()
    }
}

pub fn rule(index: u32, behaviour: pb::ReplayBehaviour) -> pb::ReplayRule {
    pb::ReplayRule { step_index: Some(index), behaviour: behaviour.into(), ..Default::default() }
}

pub async fn begin(house: &House, request: pb::StartReplayRequest) -> Answer<pb::StartReplayResponse> {
    let request = house.ask("ReplayService/StartReplay", request);
    client(house).start_replay(request).await.map(tonic::Response::into_inner)
}

/// Starts a replay; gives its id.
pub async fn begun(house: &House, request: pb::StartReplayRequest) -> String {
    begin(house, request).await.unwrap().replay.unwrap().replay_id
}

/// A step done again exactly as it was recorded.
pub fn again(index: u32) -> pb::ReplayedStep {
    let at = index as usize;
    pb::ReplayedStep {
        step_index: index,
        kind: KINDS[at].into(),
        name: NAMES[at].into(),
        parameters_json: PARAMETERS[at].as_bytes().into(),
        outcome: StepOutcome::Success.into(),
        output: OUTPUTS[at].as_bytes().into(),
        ..Default::default()
    }
}

/// The same with another output.
pub fn otherwise(index: u32, output: &str) -> pb::ReplayedStep {
    pb::ReplayedStep { output: output.as_bytes().to_vec().into(), ..again(index) }
}

/// What the policy decided, as it did when the run was recorded.
pub fn allowed() -> Vec<pb::ReplayDecision> {
    vec![pb::ReplayDecision {
        verdict: Verdict::Allow.into(),
        rule_ids: vec!["rule-1".into()],
        ..Default::default()
    }]
}

pub async fn check_as(
    house: &House,
    who: u64,
    replay_id: &str,
    steps: Vec<pb::ReplayedStep>,
) -> Answer<Vec<pb::CheckReplayStepsResponse>> {
    let message = |step| pb::CheckReplayStepsRequest { replay_id: replay_id.to_owned(), step: Some(step) };
    let messages: Vec<_> = steps.into_iter().map(message).collect();
    let request = house.ask_as(who, "ReplayService/CheckReplaySteps", futures::stream::iter(messages));
    let mut answers = client(house).check_replay_steps(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

pub async fn check(
    house: &House,
    replay_id: &str,
    steps: Vec<pb::ReplayedStep>,
) -> Answer<Vec<pb::CheckReplayStepsResponse>> {
    check_as(house, 1, replay_id, steps).await
}

pub async fn one(house: &House, replay_id: &str, step: pb::ReplayedStep) -> pb::CheckReplayStepsResponse {
    check(house, replay_id, vec![step]).await.unwrap().remove(0)
}

pub async fn finish(house: &House, id: u64, replay_id: &str) -> Answer<pb::Replay> {
    let asked = pb::FinishReplayRequest { request_id: test_id(51, id), replay_id: replay_id.to_owned() };
    let request = house.ask("ReplayService/FinishReplay", asked);
    client(house).finish_replay(request).await.map(|r| r.into_inner().replay.unwrap())
}

pub async fn get(house: &House, who: u64, replay_id: &str) -> Answer<pb::GetReplayResponse> {
    let asked = pb::GetReplayRequest { replay_id: replay_id.to_owned(), checks: 500, plan: true };
    let request = house.ask_as(who, "ReplayService/GetReplay", asked);
    client(house).get_replay(request).await.map(tonic::Response::into_inner)
}

pub async fn list(house: &House, who: u64, asked: pb::ListReplaysRequest) -> pb::ListReplaysResponse {
    let request = house.ask_as(who, "ReplayService/ListReplays", asked);
    client(house).list_replays(request).await.unwrap().into_inner()
}
