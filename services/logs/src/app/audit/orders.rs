//! Orders on contracts: moving deadlines, claims and parking. Each under a fence, each kept with its answer.

use std::time::Duration;

use contracts_logs::v1 as pb;
use prost::Message;
use runspine_db::{BoxFuture, KeptAnswer, Replayed, Tx};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::contract::{
    By, Key,
    rules::{Release, check_fence, release_driven, release_parked},
};
use runspine_types::{Digest, Micros, hash, new_id};

use super::{
    Audit,
    contracts::{not_found, save_and_tell},
    told::{self, Caused, Told, entry, key_of},
};
use crate::{
    rpc::audit::present_contract::{self as present, Detail},
    store::{contract::ClaimScope, ledger},
};

/// What names a call whose answer is kept.
#[derive(Debug, Clone)]
pub struct Call {
    /// The tenant.
    pub tenant_id: String,
    /// The operation.
    pub operation: &'static str,
    /// The request's key.
    pub key: String,
    /// Digest of the request.
    pub digest: Digest,
}

impl Call {
    /// The call of `request` under `key`.
    #[must_use]
    pub fn of(tenant_id: &str, operation: &'static str, key: &str, request: &impl Message) -> Self {
        let digest = hash(&request.encode_to_vec());
        Self { tenant_id: tenant_id.to_owned(), operation, key: key.to_owned(), digest }
    }

    async fn replayed<A: Message + Default>(&self, tx: &mut Tx) -> Result<Option<A>, Fault> {
        match tx.replay(&self.tenant_id, self.operation, &self.key, self.digest).await? {
            Replayed::Fresh => Ok(None),
            Replayed::Replay(bytes) => A::decode(bytes)
                .map(Some)
                .map_err(|error| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(error)),
        }
    }

    async fn keep(self, tx: &mut Tx, answer: &impl Message, at: Micros) -> Result<(), Fault> {
        tx.keep_answer(KeptAnswer {
            tenant: self.tenant_id,
            operation: self.operation.to_owned(),
            key: self.key,
            request_digest: self.digest,
            answer: answer.encode_to_vec().into(),
            at,
        })
        .await?;
        Ok(())
    }
}

/// A deadline to be moved.
pub struct Move {
    /// The contract.
    pub key: Key,
    /// The action, by domain and name.
    pub action: (String, String),
    /// The new deadline; `None` suspends the clock.
    pub to: Option<Micros>,
    /// Why.
    pub reason: String,
    /// The caller's fence.
    pub fence: u64,
}

/// How a claim went.
pub enum Drive {
    /// It moved.
    Driven,
    /// It could not be moved now.
    Retry(String),
    /// A person has to look at it.
    Park(String),
}

impl Audit {
    /// Suspends a deadline or sets a later one.
    ///
    /// # Errors
    /// When the contract's rules refuse it, or the store can't be written.
    pub async fn move_deadline(
        &self,
        order: Move,
        call: Call,
        caused: Caused,
    ) -> Result<pb::MoveDeadlineResponse, Fault> {
        let (contracts, now) = (self.contracts.clone(), self.clock.now());
        self.keyed("move_deadline", call, now, move |tx| {
            Box::pin(async move {
                let mut held = contracts.load(tx, &order.key).await?;
                if held.is_new() {
                    return Err(not_found(&order.key));
                }
                let by = By { actor: caused.actor_id(), now, ids: &new_id };
                let action = (order.action.0.as_str(), order.action.1.as_str());
                held.journal.move_deadline(action, order.to, &order.reason, order.fence, by)?;
                let expectation = held
                    .expectation(action.0, action.1)
                    .map(|e| present::expectation(&held, e, now, Detail::Basic));
                let completion_intended_at =
                    held.journal.contract().completion_at.map(runspine_rpc::timestamp);
                save_and_tell(tx, &contracts, vec![held], &caused, now).await?;
                Ok((pb::MoveDeadlineResponse { expectation, completion_intended_at }, true))
            })
        })
        .await
    }

    /// Hands overdue contracts to one worker. The platform tenant's worker gets those of every tenant.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn claim_overdue(
        &self,
        worker: String,
        limit: u32,
        lease: Duration,
        call: Call,
    ) -> Result<pb::ClaimOverdueResponse, Fault> {
        let (contracts, now) = (self.contracts.clone(), self.clock.now());
        let scope = ClaimScope::of(&call.tenant_id);
        self.keyed("claim_overdue", call, now, move |tx| {
            Box::pin(async move {
                let claimed = contracts.claim(tx, &scope, &worker, (now, now + lease), limit).await?;
                let claims: Vec<_> = claimed.iter().map(|c| present::claim(c, now)).collect();
                // A poll that found nothing is not worth a row: its repeat may as well find something.
                let keep = !claims.is_empty();
                Ok((pb::ClaimOverdueResponse { claims }, keep))
            })
        })
        .await
    }

    /// Gives a claim back.
    ///
    /// # Errors
    /// CONTRACT_NOT_FOUND, STALE_FENCE, or when the store can't be written.
    pub async fn release_claim(
        &self,
        (key, fence): (Key, u64),
        drive: Drive,
        call: Call,
        caused: Caused,
    ) -> Result<pb::ReleaseClaimResponse, Fault> {
        let (contracts, now, backoff) = (self.contracts.clone(), self.clock.now(), self.backoff);
        let mut jitter = [0; 2];
        // Without random bytes every pause is 20 % shorter, which harms nobody.
        let _ = getrandom::fill(&mut jitter);
        self.keyed("release_claim", call, now, move |tx| {
            Box::pin(async move {
                let held = contracts.load(tx, &key).await?;
                let Some(row) = held.row() else { return Err(not_found(&key)) };
                check_fence(fence, row.fence)?;
                let (release, reason) = match &drive {
                    Drive::Driven => (release_driven(held.next_deadline(), now), ""),
                    Drive::Retry(why) => {
                        (backoff.retry(row.retries, u16::from_be_bytes(jitter), now), why.as_str())
                    }
                    Drive::Park(why) => (release_parked(row.retries), why.as_str()),
                };
                let reason = if release.parked { reason } else { "" };
                contracts.release(tx, &held, release, reason).await?;
                if release.parked && !row.parked {
                    tell_parked(tx, &key, fence, release, reason, &caused, now).await?;
                }
                let next_attempt_at = release.next_attempt_at.map(runspine_rpc::timestamp);
                Ok((pb::ReleaseClaimResponse { next_attempt_at, parked: release.parked }, true))
            })
        })
        .await
    }

    /// Lets a parked contract go on; one that is not parked stays as it is.
    ///
    /// # Errors
    /// CONTRACT_NOT_FOUND, or when the store can't be written.
    pub async fn unpark(
        &self,
        key: Key,
        reason: String,
        call: Call,
        caused: Caused,
    ) -> Result<pb::UnparkContractResponse, Fault> {
        let (contracts, now) = (self.contracts.clone(), self.clock.now());
        self.keyed("unpark_contract", call, now, move |tx| {
            Box::pin(async move {
                let held = contracts.load(tx, &key).await?;
                let Some(row) = held.row().cloned() else { return Err(not_found(&key)) };
                if row.parked {
                    let free = Release { retries: 0, next_attempt_at: None, parked: false };
                    contracts.release(tx, &held, free, "").await?;
                    let data = pb::ContractUnparked { key: Some(key_of(&key)), reason: reason.clone() };
                    let event = tell(tx, "ContractUnparked", &data, &key, &reason, &caused, now);
                    ledger::append_entry(tx, event, now).await?;
                }
                let held = contracts.load(tx, &key).await?;
                let row = held.row().cloned().unwrap_or(row);
                let contract = Some(present::contract(&row, &held, now, Detail::Basic));
                Ok((pb::UnparkContractResponse { contract }, true))
            })
        })
        .await
    }

    /// Does `work` unless the call was answered before. The second part of its result says whether to keep the answer.
    async fn keyed<A, F>(&self, name: &'static str, call: Call, now: Micros, work: F) -> Result<A, Fault>
    where
        A: Message + Default + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<(A, bool), Fault>> + Send + 'static,
    {
        self.db
            .write(name, move |tx| {
                Box::pin(async move {
                    if let Some(answer) = call.replayed(tx).await? {
                        return Ok(answer);
                    }
                    let (answer, keep) = work(tx).await?;
                    if keep {
                        call.keep(tx, &answer, now).await?;
                    }
                    Ok(answer)
                })
            })
            .await
    }
}

async fn tell_parked(
    tx: &mut Tx,
    key: &Key,
    fence: u64,
    release: Release,
    reason: &str,
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    let data = pb::ContractParked {
        key: Some(key_of(key)),
        reason: reason.to_owned(),
        retries: release.retries,
        fence,
    };
    let event = tell(tx, "ContractParked", &data, key, reason, caused, now);
    ledger::append_entry(tx, event, now).await?;
    Ok(())
}

fn tell<M: Message>(
    tx: &mut Tx,
    name: &'static str,
    data: &M,
    key: &Key,
    reason: &str,
    caused: &Caused,
    now: Micros,
) -> ledger::Event {
    let told = Told {
        name,
        data,
        tenant_id: &key.tenant_id,
        run_id: told::run_of(key),
        attempt: key.attempt,
        step_index: None,
        entity: ("audit_contract", told::entity_of(key)),
        reason,
    };
    let event_id = told::emit(tx, told, caused, now);
    entry(key, &format!("logs.{name}"), event_id, reason, None, caused, now)
}
