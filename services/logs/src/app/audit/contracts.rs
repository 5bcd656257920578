//! Writes to contracts: everything that waits is done by one look-up, one insert of entries and one of working rows.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use contracts_logs::v1::ReconcilePass;
use runspine_db::{Batch, BoxFuture, DbError, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{
    contract::{Ack, By, Contract, Fact, Intent, Journal, Judgement, Key, Promise, RUN_SAGA, Wish},
    reasons::{CONTRACT_NOT_FOUND, NOT_SEALED},
};
use runspine_types::{Clock, Micros, new_id};

use super::{
    Audit,
    told::{self, Caused},
};
use crate::{
    metrics,
    store::{
        contract::{Contracts, Held},
        ledger,
    },
};

/// What is written to a contract.
pub enum Write {
    /// Promise actions.
    Declare(Vec<Promise>, u64),
    /// Report facts: all or none.
    Acknowledge(Vec<Fact>),
    /// Write an intent.
    Intend(Wish),
    /// Judge.
    Reconcile(ReconcilePass),
}

/// One call.
pub struct ContractWrite {
    /// The contract.
    pub key: Key,
    /// What is written.
    pub write: Write,
    /// Who caused it.
    pub caused: Caused,
}

/// What was written.
pub enum Written {
    /// The promises stand.
    Declared(Box<Contract>),
    /// The facts stand.
    Acknowledged(Vec<Ack>),
    /// The intent stands; `true` when it was there already.
    Intended(Box<Intent>, bool),
    /// The judgement, the verdict's place (0: nothing was written), and the contract.
    Judged(Judgement, u64, Box<Contract>),
}

/// The batch of all calls that wait.
pub struct ContractWrites {
    contracts: Contracts,
    clock: Arc<dyn Clock>,
}

impl ContractWrites {
    /// Over the store of contracts.
    #[must_use]
    pub fn new(contracts: Contracts, clock: Arc<dyn Clock>) -> Self {
        Self { contracts, clock }
    }
}

impl Audit {
    /// Writes to a contract.
    ///
    /// # Errors
    /// When the contract's rules refuse it, or the store can't be written.
    pub async fn write(&self, key: Key, write: Write, caused: Caused) -> Result<Written, Fault> {
        let (begun, judges) = (Instant::now(), matches!(write, Write::Reconcile(_)));
        let written = self.writes.submit(ContractWrite { key, write, caused }).await;
        if judges {
            metrics::RECONCILE.since(begun, &[]);
        }
        written.inspect_err(metrics::refused)
    }
}

impl Batch for ContractWrites {
    type Item = ContractWrite;
    type Out = Written;
    const NAME: &'static str = "write_contracts";

    fn apply<'t>(
        &'t self,
        tx: &'t mut Tx,
        items: &'t [ContractWrite],
    ) -> BoxFuture<'t, Result<Vec<Result<Written, Fault>>, DbError>> {
        Box::pin(async move {
            let mut keys: Vec<Key> = items.iter().map(|item| item.key.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            let mut held = self.contracts.load_all(tx, &keys).await?;
            let now = self.clock.now();
            let answers = items.iter().map(|item| apply(&mut held, item, now)).collect();
            // Who caused the verdicts of a contract is whoever wrote to it last in this group.
            let caused: BTreeMap<&Key, &Caused> =
                items.iter().map(|item| (&item.key, &item.caused)).collect();
            let mut entries = Vec::new();
            for (key, held) in &held {
                if let Some(caused) = caused.get(key) {
                    entries
                        .extend(told::verdicts(tx, &held.journal, caused, now).into_iter().map(|e| vec![e]));
                }
            }
            self.contracts.save(tx, held.into_values()).await?;
            if !entries.is_empty() {
                ledger::append(tx, &entries, now).await?;
            }
            Ok(answers)
        })
    }
}

fn apply(held: &mut BTreeMap<Key, Held>, item: &ContractWrite, now: Micros) -> Result<Written, Fault> {
    let Some(held) = held.get_mut(&item.key) else { return Err(not_found(&item.key)) };
    let by = By { actor: item.caused.actor_id(), now, ids: &new_id };
    let new = held.is_new() && held.last_seq == 0;
    let journal = &mut held.journal;
    match &item.write {
        Write::Declare(promises, run_timeout_ms) => {
            journal.declare(promises, *run_timeout_ms, by)?;
            Ok(Written::Declared(Box::new(journal.contract().clone())))
        }
        Write::Acknowledge(facts) => acknowledge(journal, facts, by).map(Written::Acknowledged),
        Write::Intend(..) | Write::Reconcile(_) if new && !matches!(item.write, Write::Reconcile(_)) => {
            Err(not_found(&item.key))
        }
        Write::Intend(wish) => {
            let (intent, existing) = journal.intend(wish, by)?;
            Ok(Written::Intended(Box::new(intent), existing))
        }
        Write::Reconcile(pass) => reconcile(journal, *pass, new, by),
    }
}

/// All facts or none: a later one that is refused takes the earlier ones with it.
fn acknowledge(journal: &mut Journal, facts: &[Fact], by: By<'_>) -> Result<Vec<Ack>, Fault> {
    let before = (facts.len() > 1).then(|| journal.clone());
    let acks: Result<Vec<Ack>, Fault> = facts.iter().map(|fact| journal.acknowledge(fact, by)).collect();
    if let (Err(_), Some(before)) = (&acks, before) {
        *journal = before;
    }
    acks
}

fn reconcile(journal: &mut Journal, pass: ReconcilePass, new: bool, by: By<'_>) -> Result<Written, Fault> {
    if new {
        // Nothing was promised, which is a verdict; there is no contract to write it to.
        let judgement = journal.contract().judge(pass, by.now);
        return Ok(Written::Judged(judgement, 0, Box::new(journal.contract().clone())));
    }
    let contract = journal.contract();
    if pass == ReconcilePass::Final && !contract.closed && journal.key().saga == RUN_SAGA {
        let subject = format!("contracts/{}", told::entity_of(journal.key()));
        return Err(Fault::new(&NOT_SEALED, "the contract of a run is closed by the seal of its trace")
            .precondition(subject, "a sealed trace"));
    }
    if let Some(last) = contract.judged.last().filter(|_| contract.closed && pass != ReconcilePass::Final) {
        let (verdict, findings) = (Some(last.verdict), last.findings.clone());
        let judgement = Judgement { pass, verdict, findings, clean: contract.is_clean() };
        return Ok(Written::Judged(judgement, last.seq, Box::new(contract.clone())));
    }
    let (judgement, _) = journal.reconcile(pass, by)?;
    let contract = journal.contract();
    let seq = judgement.verdict.and_then(|_| contract.judged.last()).map_or(0, |last| last.seq);
    Ok(Written::Judged(judgement, seq, Box::new(contract.clone())))
}

/// Keeps what was added to contracts inside somebody else's transaction, publishes their verdicts and puts them on the
/// ledger: what the seal does last.
///
/// # Errors
/// When the store can't be written.
pub async fn save_and_tell(
    tx: &mut Tx,
    contracts: &Contracts,
    held: Vec<Held>,
    caused: &Caused,
    now: Micros,
) -> Result<(), Fault> {
    let mut entries = Vec::new();
    for held in &held {
        entries.extend(told::verdicts(tx, &held.journal, caused, now));
    }
    contracts.save(tx, held).await?;
    if !entries.is_empty() {
        for refused in ledger::append(tx, &[entries], now).await? {
            refused?;
        }
    }
    Ok(())
}

/// The fault for a contract that this tenant does not have.
#[must_use]
pub fn not_found(key: &Key) -> Fault {
    Fault::new(&CONTRACT_NOT_FOUND, "there is no such contract").with("contract", told::entity_of(key))
}
