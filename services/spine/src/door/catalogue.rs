//! `OperationService`: every operation with its contract, who serves it, and how it was used.

use std::sync::{Arc, OnceLock};

use contracts_common::contract::v1 as contract;
use contracts_spine::v1::{
    CallCount, GetOperationRequest, GetOperationResponse, ListOperationsRequest, ListOperationsResponse,
    OperationFilter, OperationView,
    operation_service_server::{OperationService, OperationServiceServer},
};
use http::Response;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Body, Mesh, Operation, Registry, Stack, code_in_head, status};
use runspine_types::Clock;
use tonic::{Request, Status};

use super::tally::Tally;

const PAGE: usize = 100;
const MOST: usize = 500;

/// The operations of the mesh. Made empty, because its server is one of the routes that the door stands before; the
/// door fills it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Catalogue {
    known: Arc<OnceLock<Known>>,
}

struct Known {
    registry: Registry,
    own: Stack,
    mesh: Mesh,
    clock: Arc<dyn Clock>,
    tally: Tally,
}

impl Catalogue {
    /// Its server, for the spine's routes.
    #[must_use]
    pub fn server(&self) -> OperationServiceServer<Self> {
        OperationServiceServer::new(self.clone())
    }

    pub(super) fn fill(&self, own: &Stack, mesh: &Mesh, clock: Arc<dyn Clock>) {
        let registry = own.registry().clone();
        let tally = Tally::of(registry.operations().map(|op| op.name.as_str()));
        // Filled once; a second door over the same catalogue counts in the first one's tally.
        let _ = self.known.set(Known { registry, own: own.clone(), mesh: mesh.clone(), clock, tally });
    }

    pub(super) fn count(&self, operation: &Operation, response: &Response<Body>) {
        let Some(known) = self.known.get() else { return };
        known.tally.count(&operation.name, code_in_head(response) as i32, known.clock.now());
    }

    fn known(&self) -> Result<&Known, Status> {
        self.known.get().ok_or_else(|| status(Fault::new(&mesh::INTERNAL, "the catalogue was never filled")))
    }
}

impl Known {
    fn view(&self, operation: &Operation) -> OperationView {
        let calls = self.tally.last_day(&operation.name, self.clock.now());
        OperationView {
            name: operation.name.clone(),
            domain: operation.domain.clone(),
            contract: Some(contract_of(operation)),
            served: self.served(operation),
            client_streaming: operation.client_streaming,
            server_streaming: operation.server_streaming,
            calls_24h: calls.into_iter().map(|(code, calls)| CallCount { code, calls }).collect(),
        }
    }

    /// What another process serves is known only by asking it, so a configured way counts.
    fn served(&self, operation: &Operation) -> bool {
        let elsewhere = || {
            let way = self.mesh.get(&operation.domain)?;
            Some(way.stack().is_none_or(|stack| stack.serves(&operation.name)))
        };
        self.own.serves(&operation.name) || elsewhere().unwrap_or(false)
    }
}

fn contract_of(operation: &Operation) -> contract::Operation {
    let mut calls: Vec<_> = operation.calls.iter().cloned().collect();
    calls.sort();
    let deadline = operation.deadline.map_or(0, |d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX));
    contract::Operation {
        role: operation.role as i32,
        exposure: operation.exposure as i32,
        permission: operation.permission.clone(),
        calls,
        commit: operation.commit as i32,
        idempotency: operation.idempotency as i32,
        acknowledges: operation.acknowledges.clone(),
        invariants: operation.invariants.clone(),
        deadline_ms: deadline,
        key: operation.key.clone(),
        max_request_mib: u32::try_from(operation.max_request / (1024 * 1024)).unwrap_or(u32::MAX),
    }
}

fn matches(filter: &OperationFilter, operation: &Operation) -> bool {
    let text = |wanted: &str, have: &str| wanted.is_empty() || wanted == have;
    let number = |wanted: i32, have: i32| wanted == 0 || wanted == have;
    text(&filter.domain, &operation.domain)
        && text(&filter.permission, &operation.permission)
        && number(filter.exposure, operation.exposure as i32)
        && number(filter.role, operation.role as i32)
}

fn page_size(asked: i32) -> Result<usize, Fault> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE),
        Ok(size) if size <= MOST => Ok(size),
        _ => Err(Fault::new(&mesh::FIELD_INVALID, "the page size is out of range").field(
            "page_size",
            "OUT_OF_RANGE",
            "must be 0 to 500",
        )),
    }
}

#[tonic::async_trait]
impl OperationService for Catalogue {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<tonic::Response<ListOperationsResponse>, Status> {
        let known = self.known()?;
        let asked = request.into_inner();
        let size = page_size(asked.page_size).map_err(status)?;
        let filter = asked.filter.unwrap_or_default();
        let all: Vec<_> = known.registry.operations().filter(|op| matches(&filter, op)).collect();
        // The token is the last name of the page before: operations don't change while a mesh runs.
        let rest = all.iter().filter(|op| op.name.as_str() > asked.page_token.as_str());
        let page: Vec<_> = rest.take(size + 1).collect();
        let more = page.len() > size;
        let shown = &page[..page.len().min(size)];
        let next = shown.last().filter(|_| more).map(|op| op.name.clone()).unwrap_or_default();
        Ok(tonic::Response::new(ListOperationsResponse {
            operations: shown.iter().map(|op| known.view(op)).collect(),
            next_page_token: next,
            total_size: i32::try_from(all.len()).unwrap_or(i32::MAX),
        }))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<tonic::Response<GetOperationResponse>, Status> {
        let known = self.known()?;
        let name = request.into_inner().name;
        let found = known.registry.operation(&name);
        let operation = found
            .ok_or_else(|| status(Fault::new(&super::reasons::OPERATION_NOT_FOUND, "no such operation")))?;
        Ok(tonic::Response::new(GetOperationResponse { operation: Some(known.view(operation)) }))
    }
}
