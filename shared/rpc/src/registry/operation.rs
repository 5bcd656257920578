//! One RPC and one event, with what they promise.

use std::{collections::HashSet, time::Duration};

use contracts_common::contract::v1::{self as contract, Commit, Exposure, Idempotency, Ledger, Role};
use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};

use crate::MAX_MESSAGE_BYTES;

/// One RPC with its contract.
#[derive(Debug, Clone)]
pub struct Operation {
    /// `package.Service/Method`, or `worker:<name>`.
    pub name: String,
    /// `/package.Service/Method`, as it is asked for.
    pub path: String,
    /// Full name of the service.
    pub service: String,
    /// The domain that owns it: `logs` for the package `runspine.logs.v1`.
    pub domain: String,
    /// What kind of act it is.
    pub role: Role,
    /// Who can reach it.
    pub exposure: Exposure,
    /// What the caller must hold.
    pub permission: String,
    /// What serving it may call.
    pub calls: HashSet<String>,
    /// Whether it may write.
    pub commit: Commit,
    /// Whether it can be repeated.
    pub idempotency: Idempotency,
    /// The request fields of its natural key; empty for `request_id`.
    pub key: Vec<String>,
    /// The audit action that its success acknowledges.
    pub acknowledges: String,
    /// The business invariants bound to it.
    pub invariants: Vec<String>,
    /// The most it may take; `None` for a stream without a deadline.
    pub deadline: Option<Duration>,
    /// The most bytes of its request.
    pub max_request: usize,
    /// Whether the client sends more than one message.
    pub client_streaming: bool,
    /// Whether the server sends more than one message.
    pub server_streaming: bool,
    /// Where the request holds what a dispatch record names.
    pub fields: KnownFields,
    input: Option<MessageDescriptor>,
}

/// Field numbers of well-known fields at the top of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownFields {
    /// `request_id`, a string.
    pub request_id: Option<u32>,
    /// `run_id`, a string.
    pub run_id: Option<u32>,
    /// `attempt`, a number.
    pub attempt: Option<u32>,
    /// `step_index`, a number.
    pub step_index: Option<u32>,
}

impl Operation {
    /// Whether both sides send one message.
    #[must_use]
    pub fn is_unary(&self) -> bool {
        !self.client_streaming && !self.server_streaming
    }

    /// The method's own name.
    #[must_use]
    pub fn method(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the request must carry a non-empty `request_id`.
    #[must_use]
    pub fn needs_request_id(&self) -> bool {
        self.idempotency == Idempotency::Keyed
            && self.key.iter().all(|k| k == "request_id")
            && self.is_unary()
    }

    /// The fields that its key is made of.
    pub fn key_fields(&self) -> impl Iterator<Item = &str> + '_ {
        let own = self.key.iter().map(String::as_str);
        own.chain(self.key.is_empty().then_some("request_id"))
    }

    /// The request's descriptor; none for a worker.
    #[must_use]
    pub fn input(&self) -> Option<&MessageDescriptor> {
        self.input.as_ref()
    }

    pub(crate) fn new(method: &MethodDescriptor, said: contract::Operation) -> Self {
        let service = method.parent_service();
        let name = format!("{}/{}", service.full_name(), method.name());
        let input = method.input();
        Self {
            path: format!("/{name}"),
            name,
            service: service.full_name().to_owned(),
            domain: domain_of(service.package_name()),
            role: said.role(),
            exposure: said.exposure(),
            commit: said.commit(),
            idempotency: said.idempotency(),
            permission: said.permission,
            calls: said.calls.into_iter().collect(),
            key: said.key,
            acknowledges: said.acknowledges,
            invariants: said.invariants,
            deadline: (said.deadline_ms > 0).then(|| Duration::from_millis(u64::from(said.deadline_ms))),
            max_request: bytes(said.max_request_mib),
            client_streaming: method.is_client_streaming(),
            server_streaming: method.is_server_streaming(),
            fields: KnownFields::of(&input),
            input: Some(input),
        }
    }

    pub(crate) fn worker(name: String, calls: &[&str]) -> Self {
        Self {
            path: format!("/{name}"),
            name,
            service: String::new(),
            domain: "spine".to_owned(),
            role: Role::Executes,
            exposure: Exposure::Mesh,
            commit: Commit::Owns,
            idempotency: Idempotency::Keyed,
            permission: String::new(),
            calls: calls.iter().map(|c| (*c).to_owned()).collect(),
            key: Vec::new(),
            acknowledges: String::new(),
            invariants: Vec::new(),
            deadline: None,
            max_request: MAX_MESSAGE_BYTES,
            client_streaming: false,
            server_streaming: false,
            fields: KnownFields::default(),
            input: None,
        }
    }
}

fn bytes(mib: u32) -> usize {
    let bytes = usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024);
    if bytes == 0 { MAX_MESSAGE_BYTES } else { bytes }
}

impl KnownFields {
    fn of(input: &MessageDescriptor) -> Self {
        let text =
            |name: &str| input.get_field_by_name(name).filter(|f| f.kind() == Kind::String && !f.is_list());
        let number = |name: &str| {
            let whole = |k: Kind| matches!(k, Kind::Uint32 | Kind::Uint64 | Kind::Int32 | Kind::Int64);
            input.get_field_by_name(name).filter(|f| whole(f.kind()) && !f.is_list())
        };
        Self {
            request_id: text("request_id").map(|f| f.number()),
            run_id: text("run_id").map(|f| f.number()),
            attempt: number("attempt").map(|f| f.number()),
            step_index: number("step_index").map(|f| f.number()),
        }
    }
}

/// One event with its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventContract {
    /// `<domain>.<Event>`.
    pub name: String,
    /// Version of its schema.
    pub version: String,
    /// Where it goes on the ledger.
    pub ledger: Ledger,
    /// Full name of its message.
    pub message: String,
    /// The domain that publishes it.
    pub domain: String,
}

pub(crate) fn domain_of(package: &str) -> String {
    package.split('.').nth(1).unwrap_or_default().to_owned()
}
