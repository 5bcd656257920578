//! Starts a trace: header, salts, acknowledgement and event in one commit.

use bytes::Bytes;
use contracts_common::common::v1::{AckStatus, CallContext};
use contracts_logs::v1 as pb;
use prost::Message as _;
use runspine_db::{DbError, Tx};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bytes::{FORMAT, encode, micros, timestamp},
    chain,
    contract::{By, Fact, Key},
    reasons,
};
use runspine_types::{Digest, Micros, hash, new_id};

use super::{
    App,
    events::{self, About},
    random, spans,
};
use crate::store::{
    contract::Contracts,
    seals, secrets,
    traces::{self, NewTrace, TraceRef, TraceRow},
};

/// The default seed of a run.
const SEED: i64 = 42;

/// A started trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The trace.
    pub trace_id: String,
    /// Link of the header.
    pub link: Digest,
    /// Salt of the run's digests; empty after it was erased.
    pub digest_salt: Vec<u8>,
    /// Key of the tenant's parameters digests; empty after it was erased.
    pub parameter_key: Vec<u8>,
    /// When it was started.
    pub started_at: Micros,
}

/// Everything that the transaction needs, made outside of it.
struct Start {
    of: TraceRef,
    request: pb::StartTraceRequest,
    request_digest: Digest,
    call: CallContext,
    contracts: Contracts,
    now: Micros,
    salt: [u8; 32],
    key: [u8; 32],
}

impl App {
    /// Starts the trace of an attempt. The same request again gives the first answer.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH, PREVIOUS_ATTEMPT_OPEN, or when the store can't be written.
    pub async fn start_trace(
        &self,
        call: &CallContext,
        request: pb::StartTraceRequest,
    ) -> Result<Started, Fault> {
        let start = Start {
            of: TraceRef {
                tenant_id: call.tenant_id.clone(),
                run_id: request.run_id.clone(),
                attempt: request.attempt,
            },
            request_digest: hash(&request.encode_to_vec()),
            request,
            call: call.clone(),
            contracts: self.contracts.clone(),
            now: self.clock.now(),
            salt: random()?,
            key: random()?,
        };
        self.db.write("start_trace", move |tx| Box::pin(start.run(tx))).await
    }
}

impl Start {
    async fn run(self, tx: &mut Tx) -> Result<Started, Fault> {
        let tenant = self.of.tenant_id.clone();
        if let Some(row) = traces::find(tx, &self.of).await? {
            if row.request_digest != self.request_digest {
                let message = "the trace of this attempt was started with another request";
                return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, message));
            }
            let salt = secrets::digest_salt(tx, &tenant, &self.of.run_id, self.salt).await?;
            let key = secrets::parameter_key(tx, &tenant, self.key).await?;
            return started(&row, salt, key);
        }
        let previous = self.previous_seal(tx).await?;
        let salt = secrets::digest_salt(tx, &tenant, &self.of.run_id, self.salt).await?;
        let key = secrets::parameter_key(tx, &tenant, self.key).await?;
        let header = self.header(previous, salt.as_deref().unwrap_or_default());
        let bytes = encode(&header);
        let link = chain::trace_start(&bytes);
        let new = NewTrace {
            of: self.of.clone(),
            addendum: 0,
            trace_id: header.trace_id.clone(),
            project_id: header.project_id.clone(),
            agent_id: header.agent_id.clone(),
            profile: header.profile,
            source: header.source,
            scenario_id: header.synthetic_scenario_id.clone(),
            started_at: self.now,
            header: bytes,
            link,
            request_digest: self.request_digest,
        };
        let trace_key = traces::insert(tx, new).await?;
        if spans::is_observed(header.source) {
            spans::begin(tx, trace_key, &header, &self.call, self.now).await?;
        }
        self.acknowledge(tx, &header.trace_id).await?;
        self.publish(tx, &header, link);
        Ok(Started {
            trace_id: header.trace_id,
            link,
            digest_salt: salt.unwrap_or_default(),
            parameter_key: key.unwrap_or_default(),
            started_at: self.now,
        })
    }

    /// The seal digest of the attempt before, so that an attempt can't be dropped unseen.
    async fn previous_seal(&self, tx: &mut Tx) -> Result<Bytes, Fault> {
        if self.of.attempt <= 1 {
            return Ok(Bytes::new());
        }
        let before = TraceRef { attempt: self.of.attempt - 1, ..self.of.clone() };
        let open = || {
            let message = format!("attempt {} has no sealed trace", before.attempt);
            let subject = format!("runs/{}/attempts/{}/trace", before.run_id, before.attempt);
            Fault::new(&reasons::PREVIOUS_ATTEMPT_OPEN, message).precondition(subject, "is sealed")
        };
        let row = traces::find(tx, &before).await?.ok_or_else(open)?;
        let seal = seals::find(tx, row.trace_key).await?.ok_or_else(open)?;
        Ok(Bytes::copy_from_slice(seal.seal_digest.as_bytes()))
    }

    fn header(&self, previous_seal_digest: Bytes, salt: &[u8]) -> pb::TraceHeader {
        let r = &self.request;
        pb::TraceHeader {
            format: FORMAT,
            tenant_id: self.of.tenant_id.clone(),
            run_id: self.of.run_id.clone(),
            attempt: self.of.attempt,
            trace_id: new_id(),
            agent_id: r.agent_id.clone(),
            profile: r.profile,
            policy_snapshot_id: r.policy_snapshot_id.clone(),
            policy_snapshot_digest: r.policy_snapshot_digest.clone(),
            governance_config_version: r.governance_config_version.clone(),
            governance_config_digest: r.governance_config_digest.clone(),
            seed: r.seed.unwrap_or(SEED),
            started_at: Some(timestamp(self.now)),
            salt_commitment: Bytes::copy_from_slice(chain::salt_commitment(salt).as_bytes()),
            inspection_allowed: r.inspection_allowed,
            source: r.source,
            plan_digest: r.plan_digest.clone(),
            parent_run_id: r.parent_run_id.clone(),
            external_trace_id: r.external_trace_id.clone(),
            synthetic_scenario_id: r.synthetic_scenario_id.clone(),
            previous_seal_digest,
            addendum: 0,
            project_id: r.project_id.clone(),
            correlation_id: self.call.correlation_id.clone(),
        }
    }

    async fn acknowledge(&self, tx: &mut Tx, trace_id: &str) -> Result<(), Fault> {
        let key = Key::run(&self.of.tenant_id, &self.of.run_id, self.of.attempt);
        let mut contract = self.contracts.load(tx, &key).await?;
        let fact = done(&self.of, "logs", "start_trace", trace_id, 0);
        contract.journal.acknowledge(&fact, By { actor: "logs", now: self.now, ids: &new_id })?;
        Ok(self.contracts.save(tx, [contract]).await?)
    }

    fn publish(&self, tx: &mut Tx, header: &pb::TraceHeader, link: Digest) {
        let event = pb::TraceStarted {
            run_id: header.run_id.clone(),
            attempt: header.attempt,
            trace_id: header.trace_id.clone(),
            agent_id: header.agent_id.clone(),
            link_0: Bytes::copy_from_slice(link.as_bytes()),
            started_at: header.started_at,
        };
        events::emit(tx, About::call(&self.call, &self.of, &header.trace_id), &event, self.now);
    }
}

/// The acknowledgement of an action that logs did itself.
pub fn done(of: &TraceRef, domain: &str, action: &str, trace_id: &str, fence: u64) -> Fact {
    Fact {
        domain: domain.to_owned(),
        action: action.to_owned(),
        status: AckStatus::Success,
        result_id: trace_id.to_owned(),
        error_reason: String::new(),
        idempotency_key: format!("{}/{}/{action}", of.run_id, of.attempt),
        fence,
        observed_at: None,
    }
}

fn started(row: &TraceRow, salt: Option<Vec<u8>>, key: Option<Vec<u8>>) -> Result<Started, Fault> {
    let header = pb::TraceHeader::decode(row.header.as_ref())
        .map_err(|error| DbError::Column { column: "header".to_owned(), what: error.to_string() })?;
    Ok(Started {
        trace_id: row.trace_id.clone(),
        link: row.link,
        digest_salt: salt.unwrap_or_default(),
        parameter_key: key.unwrap_or_default(),
        started_at: micros(header.started_at.as_ref()),
    })
}
