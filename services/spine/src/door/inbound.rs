//! One call that came in: who, what, when, and the context under which it is served.

use std::{sync::Arc, time::Instant};

use contracts_common::common::v1::CallContext;
use http::HeaderMap;
use runspine_rpc::{Context, Operation, grpc_timeout};
use runspine_types::Micros;
use tokio::time::Instant as TokioInstant;

use super::{Inner, directory::Identity};

/// A client may name the correlation that its call belongs to.
const CORRELATION_HEADER: &str = "runspine-correlation-id";

/// An authenticated call.
pub(super) struct Arrival {
    pub operation: Arc<Operation>,
    pub caller: Arc<Identity>,
    /// Id of its dispatch record, and what causes all that it leads to.
    pub dispatch_id: String,
    pub occurred_at: Micros,
    pub begun: Instant,
    pub config_digest: Vec<u8>,
    /// What the request's fields say, once it was read.
    pub request: Seen,
}

/// What the door looked up in a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub request_id: String,
    pub run_id: String,
    pub attempt: u32,
    pub step_index: Option<u32>,
    pub digest: Vec<u8>,
    pub correlation_id: String,
}

impl Arrival {
    pub fn new(door: &Inner, operation: &Arc<Operation>, caller: Arc<Identity>, begun: Instant) -> Self {
        Self {
            operation: Arc::clone(operation),
            caller,
            dispatch_id: runspine_types::new_id(),
            occurred_at: door.deps.clock.now(),
            begun,
            config_digest: door.deps.profile.digest.to_vec(),
            request: Seen::default(),
        }
    }

    /// The context under which it is served: everything from the credential, nothing from the request.
    pub fn context(&self, door: &Inner, headers: &HeaderMap) -> Context {
        let caller = &self.caller;
        let call = CallContext {
            tenant_id: caller.tenant.clone(),
            actor: Some(caller.as_actor()),
            credential_id: caller.handle.clone(),
            owner_id: caller.owner.clone(),
            agent_id: caller.agent.clone(),
            roles: caller.roles.clone(),
            project_id: caller.project.clone(),
            operation: String::new(),
            correlation_id: self.request.correlation_id.clone(),
            causation_id: self.dispatch_id.clone(),
            run_id: self.request.run_id.clone(),
            profile: door.deps.profile.name as i32,
            config_version: door.deps.profile.version.clone(),
            config_digest: self.config_digest.clone().into(),
            issued_at_us: self.occurred_at.0,
        };
        Context::serving(&self.operation, call, self.deadline(headers))
    }

    /// The client's, or the contract's when that is earlier.
    fn deadline(&self, headers: &HeaderMap) -> Option<TokioInstant> {
        let begun = TokioInstant::from_std(self.begun);
        let wanted = grpc_timeout(headers);
        let most = self.operation.deadline;
        wanted.into_iter().chain(most).min().map(|left| begun + left)
    }

    /// The client's correlation when it is a plain word of at most 64 characters, else this call's own.
    pub fn correlation(&self, headers: &HeaderMap) -> String {
        let given = headers.get(CORRELATION_HEADER).and_then(|value| value.to_str().ok());
        let plain = |word: &&str| {
            (1..=64).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        given.filter(plain).unwrap_or(&self.dispatch_id).to_owned()
    }
}
