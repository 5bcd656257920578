//! `AuditContractService`.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts_logs::v1::{self as pb, audit_contract_service_server::AuditContractService};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_logs_domain::{
    contract::{Contract, Key},
    reasons::INTENT_EXISTS,
};
use runspine_rpc::{context, status, timestamp};
use runspine_types::{Digest, hash};
use tonic::{Request, Response, Status};

use super::{
    caused, contract_parse as parse,
    fields::{Fields, page_after, page_key},
    present_contract::{self as present, Detail},
};
use crate::{
    app::audit::{
        Audit,
        contracts::{Written, not_found},
        orders::Call,
        told::key_of,
    },
    store::contract::{self as store, ClaimScope, ContractOrder, IndexRow},
};

/// A first intent's payload up to this size goes into the refusal of a second one; metadata of a call is small.
const MOST_TOLD: usize = 3 * 1024;

/// Serves contracts.
pub struct Contracts(pub Arc<Audit>);

fn unexpected() -> Status {
    status(Fault::new(&runspine_errors::mesh::INTERNAL, "another write was answered"))
}

#[tonic::async_trait]
impl AuditContractService for Contracts {
    async fn declare_expectations(
        &self,
        request: Request<pb::DeclareExpectationsRequest>,
    ) -> Result<Response<pb::DeclareExpectationsResponse>, Status> {
        let context = context(&request)?;
        let (key, write) = parse::declare(&context.tenant_id, request.into_inner()).map_err(status)?;
        let name = key_of(&key);
        match self.0.write(key, write, caused(&context)).await.map_err(status)? {
            Written::Declared(c) => {
                let contract = Some(present::declared(&context.tenant_id, name, &c));
                Ok(Response::new(pb::DeclareExpectationsResponse { contract }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn acknowledge(
        &self,
        request: Request<pb::AcknowledgeRequest>,
    ) -> Result<Response<pb::AcknowledgeResponse>, Status> {
        let context = context(&request)?;
        let (key, write) = parse::acknowledge(&context.tenant_id, request.into_inner()).map_err(status)?;
        match self.0.write(key, write, caused(&context)).await.map_err(status)? {
            Written::Acknowledged(acks) => {
                let acks = acks.iter().map(present::ack).collect();
                Ok(Response::new(pb::AcknowledgeResponse { acks }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn append_intent(
        &self,
        request: Request<pb::AppendIntentRequest>,
    ) -> Result<Response<pb::AppendIntentResponse>, Status> {
        let context = context(&request)?;
        let (key, write) = parse::intend(&context.tenant_id, request.into_inner()).map_err(status)?;
        let written = self.0.write(key.clone(), write, caused(&context)).await;
        match written {
            Ok(Written::Intended(intent, existing)) => {
                let view = present::intent(&intent, Detail::Full);
                let answer = pb::AppendIntentResponse { seq: intent.seq, existing, intent: Some(view) };
                Ok(Response::new(answer))
            }
            Ok(_) => Err(unexpected()),
            Err(fault) if fault.is(&INTENT_EXISTS) => Err(status(self.with_winner(&key, fault).await)),
            Err(fault) => Err(status(fault)),
        }
    }

    async fn move_deadline(
        &self,
        request: Request<pb::MoveDeadlineRequest>,
    ) -> Result<Response<pb::MoveDeadlineResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let call = Call::of(&context.tenant_id, "MoveDeadline", &request.request_id, &request);
        let (order, _) = parse::move_deadline(&context.tenant_id, request).map_err(status)?;
        self.0.move_deadline(order, call, caused(&context)).await.map(Response::new).map_err(status)
    }

    async fn claim_overdue(
        &self,
        request: Request<pb::ClaimOverdueRequest>,
    ) -> Result<Response<pb::ClaimOverdueResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let call = Call::of(&context.tenant_id, "ClaimOverdue", &request.request_id, &request);
        let (worker, limit, lease, _) = parse::claim(request).map_err(status)?;
        self.0.claim_overdue(worker, limit, lease, call).await.map(Response::new).map_err(status)
    }

    async fn release_claim(
        &self,
        request: Request<pb::ReleaseClaimRequest>,
    ) -> Result<Response<pb::ReleaseClaimResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let name = request.key.clone().unwrap_or_default();
        let name = format!("{}/{}/{}/{}", name.saga, name.subject_id, name.attempt, request.fence);
        let call = Call::of(&context.tenant_id, "ReleaseClaim", &name, &request);
        let (key, fence, drive) = parse::release(&context.tenant_id, request).map_err(status)?;
        self.0
            .release_claim((key, fence), drive, call, caused(&context))
            .await
            .map(Response::new)
            .map_err(status)
    }

    async fn reconcile(
        &self,
        request: Request<pb::ReconcileRequest>,
    ) -> Result<Response<pb::ReconcileResponse>, Status> {
        let context = context(&request)?;
        let (key, write) = parse::reconcile(&context.tenant_id, request.into_inner()).map_err(status)?;
        match self.0.write(key, write, caused(&context)).await.map_err(status)? {
            Written::Judged(judgement, seq, contract) => {
                let now = self.0.clock.now();
                Ok(Response::new(present::judgement(&judgement, seq, &contract, now)))
            }
            _ => Err(unexpected()),
        }
    }

    async fn get_audit_contract(
        &self,
        request: Request<pb::GetAuditContractRequest>,
    ) -> Result<Response<pb::GetAuditContractResponse>, Status> {
        let context = context(&request)?;
        let mut fields = Fields::new();
        let key = parse::key(&mut fields, &context.tenant_id, request.into_inner().key);
        fields.done().map_err(status)?;
        let (row, contract) = self.read(&key).await.map_err(status)?;
        let contract = Some(present::contract(&row, &contract, self.0.clock.now(), Detail::Full));
        Ok(Response::new(pb::GetAuditContractResponse { contract }))
    }

    async fn list_audit_contracts(
        &self,
        request: Request<pb::ListAuditContractsRequest>,
    ) -> Result<Response<pb::ListAuditContractsResponse>, Status> {
        let context = context(&request)?;
        self.list(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_contract_backlog(
        &self,
        request: Request<pb::GetContractBacklogRequest>,
    ) -> Result<Response<pb::GetContractBacklogResponse>, Status> {
        let scope = ClaimScope::of(&context(&request)?.tenant_id);
        let found = store::backlog(self.0.db.read(), &scope, self.0.clock.now()).await;
        let (overdue, oldest, parked) = found.map_err(|error| status(error.into()))?;
        Ok(Response::new(pb::GetContractBacklogResponse {
            overdue: u64::try_from(overdue).unwrap_or(0),
            oldest_overdue_at: oldest.map(timestamp),
            parked: u64::try_from(parked).unwrap_or(0),
        }))
    }

    async fn unpark_contract(
        &self,
        request: Request<pb::UnparkContractRequest>,
    ) -> Result<Response<pb::UnparkContractResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let call = Call::of(&context.tenant_id, "UnparkContract", &request.request_id, &request);
        let (key, reason, _) = parse::unpark(&context.tenant_id, request).map_err(status)?;
        self.0.unpark(key, reason, call, caused(&context)).await.map(Response::new).map_err(status)
    }
}

impl Contracts {
    async fn read(&self, key: &Key) -> Result<(IndexRow, Contract), Fault> {
        store::read(self.0.db.read(), key).await?.ok_or_else(|| not_found(key))
    }

    /// Adds what won to the refusal, so that the loser can tell its caller.
    async fn with_winner(&self, key: &Key, fault: Fault) -> Fault {
        let Ok((_, contract)) = self.read(key).await else { return fault };
        let kind = fault.metadata().get("kind").cloned().unwrap_or_default();
        match contract.intent(&kind) {
            Some(first) if first.payload.len() <= MOST_TOLD => {
                fault.with("payload", STANDARD.encode(&first.payload))
            }
            _ => fault,
        }
    }

    async fn list(
        &self,
        tenant: &str,
        request: pb::ListAuditContractsRequest,
    ) -> Result<pb::ListAuditContractsResponse, Fault> {
        let now = self.0.clock.now();
        let (filter, order, size) = parse::list(&request, now)?;
        let query = query_of(&request);
        let after = page_after(&request.page_token, query)?.map(|[value, id]| (value, id));
        let page = store::list(self.0.db.read(), tenant, &filter, order, after, size.probe()).await?;
        let mut found = page.contracts;
        let next_page_token = size.cut(&mut found, query, |(row, _)| {
            let value = match order {
                ContractOrder::NextDeadline => row.next_deadline,
                ContractOrder::DeclaredAt => row.declared_at,
            };
            page_key([value.unwrap_or_default().0, row.contract_id])
        });
        let contracts = found.iter().map(|(row, c)| present::contract(row, c, now, Detail::Basic)).collect();
        Ok(pb::ListAuditContractsResponse { contracts, next_page_token })
    }
}

/// What a page token belongs to: filter and order.
fn query_of(request: &pb::ListAuditContractsRequest) -> Digest {
    let page = pb::ListAuditContractsRequest { page_token: String::new(), page_size: 0, ..request.clone() };
    hash(&page.encode_to_vec())
}
