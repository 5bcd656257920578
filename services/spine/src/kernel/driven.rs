//! A promise that a person has driven now, instead of when it is due.

use std::time::Duration;

use contracts_common::common::v1::ContractVerdict;
use contracts_logs::v1::{
    AuditContract, ContractKey, DriveResult, GetAuditContractRequest, GetContractBacklogRequest,
    GetContractBacklogResponse, UnparkContractRequest,
};
use contracts_spine::v1::{DriveContractRequest, DriveContractResponse, DriveOutcome};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;
use tokio::time::Instant;

use super::{Kernel, LedgerNote, kept::Kept, validate};
use crate::{reasons, sagas::drive::run_of};

/// What driving may take of the call; the rest is for the answer.
const PATIENCE: Duration = Duration::from_millis(7_000);

impl Kernel {
    /// Has one promise driven. The order is on the ledger before anything is done about it.
    ///
    /// # Errors
    /// When there is no such promise, or the order can't be recorded.
    pub async fn drive_by_order(
        &self,
        context: &Context,
        request: DriveContractRequest,
    ) -> Outcome<DriveContractResponse> {
        validate::drive(&request)?;
        let key = ContractKey {
            saga: request.saga.clone(),
            subject_id: request.subject_id.clone(),
            attempt: request.attempt,
        };
        let context = context.for_run(run_of(&key));
        let body = request.encode_to_vec();
        let answer = Kept::of("spine.DriveContract", &request.subject_id, &request.request_id, body);
        if let Some(first) = self.kept(&context, &answer).await? {
            return Ok(first);
        }
        let contract = self.promised(&context, &key).await?;
        let said = LedgerNote {
            event: "spine.ContractDriven",
            run_id: run_of(&key),
            attempt: key.attempt,
            key: &request.request_id,
            reason: &request.reason,
            ..LedgerNote::default()
        };
        self.tell_ledger(&context, &said).await?;
        if contract.parked {
            self.unpark(&context, &key, &request).await?;
        }
        let patient = context.until(Some(Instant::now() + PATIENCE));
        let (result, why) = self.drive_contract(&patient, &contract).await?;
        let verdicts = self.promised(&context, &key).await?.verdicts;
        let verdict = verdicts.last().map_or(ContractVerdict::Unspecified, |v| v.verdict());
        let outcome = match result {
            DriveResult::Driven => DriveOutcome::Driven,
            DriveResult::Park => DriveOutcome::Park,
            DriveResult::Retry | DriveResult::Unspecified => DriveOutcome::Retry,
        };
        let told = DriveContractResponse {
            outcome: outcome.into(),
            why,
            verdict: verdict.into(),
            unparked: contract.parked,
        };
        self.keep(&context, &answer, told).await
    }

    /// What waits for the reconciler and for people.
    ///
    /// # Errors
    /// When logs can't be asked.
    pub async fn backlog(&self, context: &Context) -> Outcome<GetContractBacklogResponse> {
        let found = self.bridges.reconciler.backlog(context, GetContractBacklogRequest {}).await;
        found.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }

    async fn promised(&self, context: &Context, key: &ContractKey) -> Outcome<AuditContract> {
        let get = GetAuditContractRequest { key: Some(key.clone()) };
        match self.bridges.reconciler.contract(context, get).await {
            Ok(found) => Ok(found.contract.unwrap_or_default()),
            Err(miss) if miss.is_not_found() => {
                Err(Fault::new(&reasons::CONTRACT_NOT_FOUND, "nothing was promised under this name"))
            }
            Err(miss) => Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
        }
    }

    /// Lets a parked promise go on: the reconciler takes over what this drive can't finish.
    async fn unpark(
        &self,
        context: &Context,
        key: &ContractKey,
        request: &DriveContractRequest,
    ) -> Outcome<()> {
        let unpark = UnparkContractRequest {
            key: Some(key.clone()),
            reason: request.reason.clone(),
            request_id: request.request_id.clone(),
        };
        let unparked = self.bridges.reconciler.unpark(context, unpark).await;
        unparked.map(|_| ()).map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }
}
