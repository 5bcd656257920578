//! Connections and the messages that are measured.

use bytes::Bytes;
use contracts_common::common::v1::{Amounts, Directive, Reason, StepKind, StepOutcome, Verdict};
use contracts_spine::v1::{
    Argument, AuthorizeStepRequest, AuthorizeStepResponse, CheckResult, CheckStatus, Decision, Receipt,
    RecordStepRequest, argument::Value, run_service_client::RunServiceClient,
};
use runspine_types::new_id;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::measure::Outcome;

/// The client under test: the generated one, with a credential.
pub type Client = RunServiceClient<InterceptedService<Channel, Credential>>;

/// Callers that share a connection.
pub const CALLERS_A_CONNECTION: usize = 16;
/// Cost of a recorded step in micro-USD.
pub const COST: i64 = 120;

/// Puts the API key on every call.
#[derive(Clone)]
pub struct Credential(MetadataValue<Ascii>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Connections to one server.
#[derive(Clone)]
pub struct Wire {
    channels: Vec<Channel>,
    credential: Credential,
}

impl Wire {
    /// Connects for as many callers.
    pub async fn connect(address: &str, key: &str, callers: usize) -> Outcome<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let mut channels = Vec::new();
        for _ in 0..callers.div_ceil(CALLERS_A_CONNECTION).max(1) {
            channels.push(endpoint.connect().await?);
        }
        Ok(Self { channels, credential: Credential(format!("Bearer {key}").parse()?) })
    }

    /// The connection of a caller.
    pub fn channel(&self, caller: usize) -> Channel {
        self.channels[caller / CALLERS_A_CONNECTION % self.channels.len()].clone()
    }

    /// The credential.
    pub fn credential(&self) -> Credential {
        self.credential.clone()
    }

    /// The client of a caller.
    pub fn client(&self, caller: usize) -> Client {
        RunServiceClient::with_interceptor(self.channel(caller), self.credential())
    }
}

/// A tool call of usual size.
pub fn ask(run_id: &str, fence: u64, index: u32) -> AuthorizeStepRequest {
    let argument = |key: &str, value| Argument { key: key.to_owned(), value: Some(value) };
    AuthorizeStepRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        fence,
        step_index: Some(index),
        kind: StepKind::ToolCall.into(),
        resource: "get_reservation_details".to_owned(),
        name: "get_reservation_details".to_owned(),
        tool: "get_reservation_details".to_owned(),
        external_ref: "call_Jx0aUcS1gWm5oXr7".to_owned(),
        arguments_digest: digest(index),
        arguments_size: 31,
        arguments: vec![
            argument("reservation_id", Value::Text("EHGLP3".to_owned())),
            argument("passengers", Value::Number(2)),
        ],
        parameters_digest: digest(7),
        estimate: Some(Amounts { cost_microusd: COST, duration_ms: 500, ..Amounts::default() }),
        ..AuthorizeStepRequest::default()
    }
}

/// The report of that call.
pub fn record(run_id: &str, fence: u64, index: u32, decision_id: &str) -> RecordStepRequest {
    RecordStepRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        fence,
        step_index: index,
        decision_id: decision_id.to_owned(),
        outcome: StepOutcome::Success.into(),
        input_digest: digest(index),
        output_digest: digest(index.wrapping_add(1)),
        parameters_digest: digest(7),
        output_size: 612,
        cost_microusd: Some(COST),
        duration_us: 180_000,
        external_ref: "call_Jx0aUcS1gWm5oXr7".to_owned(),
        ..RecordStepRequest::default()
    }
}

fn digest(of: u32) -> Bytes {
    Bytes::from([of.to_be_bytes(); 8].concat())
}

/// What the echo answers: an allowed step.
pub fn answer() -> AuthorizeStepResponse {
    let check = |name: &str, latency_us| CheckResult {
        check: name.to_owned(),
        verdict: Verdict::Allow.into(),
        directive: Directive::Continue.into(),
        status: CheckStatus::Ok.into(),
        latency_us,
    };
    AuthorizeStepResponse {
        step_index: 12,
        decision: Some(Decision {
            decision_id: new_id(),
            verdict: Verdict::Allow.into(),
            effective_verdict: Verdict::Allow.into(),
            directive: Directive::Continue.into(),
            reasons: vec![Reason::default()],
            ..Decision::default()
        }),
        hold_id: new_id(),
        not_after: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_456_000 }),
        checks: vec![
            check("FREEZE", 2),
            check("RUN", 2),
            check("LEASE", 2),
            check("LIMITS", 300),
            check("POLICY", 200),
        ],
        freeze_epoch: 1,
        receipt: Some(Receipt { trace_id: new_id(), position: 300, link: digest(3) }),
    }
}
