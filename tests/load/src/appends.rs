//! `AppendRecords` of `logs`, one record a call and many, and the proof of a long trace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use contracts_common::common::v1::{
    Actor, ActorType, DecisionSource, Directive, GovernanceProfile, RunSource, StepKind, Verdict,
};
use contracts_logs::v1::{
    AppendRecordsRequest, Decision, ProofStatus, RecordItem, StartTraceRequest, VerifyTraceRequest,
    record_item::Body, trace_service_client::TraceServiceClient,
};
use runspine_rpc::Transport;
use runspine_types::new_id;
use serde::Serialize;

use crate::{
    domain::Domain,
    machine::{Usage, resident_mib},
    measure::{Meter, Outcome, Point, together},
};

/// The most records of one call.
pub const MOST: usize = 256;
/// What the points of full calls are called.
pub const BATCHED: &str = "AppendRecords of 256";

/// What the proof of one long trace took.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LongProof {
    /// Links of the trace.
    pub links: u64,
    /// Links a second by the time that `logs` says it took.
    pub links_a_second: f64,
    /// Links for a second of processor time.
    pub links_a_core_second: f64,
    /// Resident memory in MiB before it.
    pub before_mib: f64,
    /// The same after it.
    pub after_mib: f64,
}

/// A decision of usual size, as the kernel appends it.
fn item(index: u32) -> RecordItem {
    let decision = Decision {
        decision_id: new_id(),
        verdict: Verdict::Allow.into(),
        directive: Directive::Continue.into(),
        kind: StepKind::ToolCall.into(),
        name: "get_reservation_details".to_owned(),
        source: DecisionSource::Policy.into(),
        reason: "RULE_ALLOW".to_owned(),
        rule_ids: vec!["allow-steps".to_owned()],
        ..Decision::default()
    };
    RecordItem {
        idempotency_key: new_id(),
        step_index: Some(index),
        actor: Some(Actor { r#type: ActorType::Agent.into(), id: "load".to_owned() }),
        body: Some(Body::Decision(decision)),
        ..RecordItem::default()
    }
}

/// A trace that one caller writes.
struct Writer {
    domain: Arc<Domain>,
    traces: TraceServiceClient<Transport>,
    run_id: String,
    next: u32,
}

impl Writer {
    async fn start(domain: &Arc<Domain>, way: Transport) -> Outcome<Self> {
        let mut traces = TraceServiceClient::new(way);
        let run_id = new_id();
        let request = StartTraceRequest {
            run_id: run_id.clone(),
            attempt: 1,
            agent_id: "load".to_owned(),
            profile: GovernanceProfile::Standard.into(),
            source: RunSource::Sdk.into(),
            ..StartTraceRequest::default()
        };
        traces.start_trace(domain.ask("TraceService/StartTrace", request)?).await?;
        Ok(Self { domain: Arc::clone(domain), traces, run_id, next: 0 })
    }

    /// Appends as many records in one call, and tells how long the answer took.
    async fn append(&mut self, count: usize) -> Outcome<Duration> {
        let items: Vec<_> = (self.next..).take(count).map(item).collect();
        self.next += u32::try_from(count)?;
        let request = AppendRecordsRequest { run_id: self.run_id.clone(), attempt: 1, items };
        let request = self.domain.ask("TraceService/AppendRecords", request)?;
        let begun = Instant::now();
        self.traces.append_records(request).await?;
        Ok(begun.elapsed())
    }

    async fn append_until(mut self, count: usize, until: Instant) -> Outcome<Meter> {
        let mut meter = Meter::new()?;
        while Instant::now() < until {
            meter.record(self.append(count).await?);
        }
        Ok(meter)
    }
}

/// Measures calls of `count` records each, every caller on a trace of its own.
pub async fn measure(domain: &Arc<Domain>, callers: usize, count: usize, seconds: f64) -> Outcome<Point> {
    let mut writers = Vec::new();
    for way in domain.ways(callers)? {
        writers.push(Writer::start(domain, way).await?);
    }
    let what = if count == MOST { BATCHED } else { "AppendRecords" };
    let appends = |until| writers.into_iter().map(|writer| writer.append_until(count, until)).collect();
    together(what, domain.pid(), seconds, appends).await
}

/// Writes a trace of as many records and proves it.
pub async fn prove(domain: &Arc<Domain>, links: usize) -> Outcome<LongProof> {
    let mut writer = Writer::start(domain, domain.ways(1)?.remove(0)).await?;
    while (writer.next as usize) < links {
        writer.append(MOST.min(links - writer.next as usize)).await?;
    }
    let before_mib = resident_mib(domain.pid());
    let mut usage = Usage::default();
    let stretch = Usage::open(domain.pid());
    let request = VerifyTraceRequest { run_id: writer.run_id.clone(), attempt: 1 };
    let found =
        writer.traces.verify_trace(domain.ask("TraceService/VerifyTrace", request)?).await?.into_inner();
    usage.close(&stretch);
    let proof = found.proofs.first().ok_or("no proof")?;
    // Nobody sealed it; everything else agrees.
    if proof.status() != ProofStatus::Unsealed || proof.record_count != links as u64 {
        return Err(
            format!("the long trace is {:?} with {} records", proof.status(), proof.record_count).into()
        );
    }
    Ok(LongProof {
        links: proof.record_count,
        links_a_second: links as f64 * 1e6 / found.duration_us.max(1) as f64,
        links_a_core_second: 1e6 / usage.server_us(proof.record_count).max(1e-9),
        before_mib,
        after_mib: resident_mib(domain.pid()),
    })
}
