//! Erases payloads. What was hashed stays; what could be read goes, and the salts with which a digest could be matched
//! to a text again go with it.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{ErasePayloadsResponse, PayloadErased};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_logs_domain::{bytes::timestamp, payload::subject, reasons};
use runspine_types::{Digest, Micros, new_id};

use crate::{
    app::{
        App,
        announce::announce,
        audit::told::{Caused, Told},
        once::Once,
    },
    metrics,
    store::{
        erasure::{self, Selector},
        payloads,
    },
};

/// Runs that the worker erases before it lets others write.
const PART: u32 = 100;

/// What to choose by.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// A selector that is known.
    By(Selector),
    /// The tag of a person.
    Tag(String),
}

/// A call.
#[derive(Debug, Clone)]
pub struct Erase {
    /// What identifies it.
    pub once: Once,
    /// What.
    pub chosen: Chosen,
    /// Why.
    pub reason: String,
    /// Under which approval.
    pub approval_id: String,
}

/// One erasure, whoever ordered it.
struct Erasure<'a> {
    tenant_id: &'a str,
    selector: &'a Selector,
    word: &'static str,
    reason: &'a str,
    approval_id: &'a str,
    caused: &'a Caused,
    now: Micros,
}

impl App {
    /// Erases what a caller chose and gives the answer as it is kept; the same request again gives the first one.
    ///
    /// # Errors
    /// APPROVAL_REQUIRED, LEGAL_HOLD, TRACE_NOT_FOUND, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn erase_payloads(&self, call: &CallContext, erase: Erase) -> Result<Bytes, Fault> {
        if self.strict && erase.approval_id.is_empty() {
            return Err(Fault::new(&reasons::APPROVAL_REQUIRED, "STRICT erases nothing without an approval")
                .precondition("approval_id", "names an approval"));
        }
        let tenant_id = call.tenant_id.clone();
        let selector = match &erase.chosen {
            Chosen::By(selector) => selector.clone(),
            Chosen::Tag(tag) => {
                // Without its key a tenant has no payload that is about anybody.
                let key = payloads::parameter_key(self.db.read(), &tenant_id).await?;
                key.map_or(Selector::Refs(vec![Digest::default()]), |key| {
                    Selector::Subject(subject(&key, tag))
                })
            }
        };
        let (caused, now) = (Caused::by(call), self.clock.now());
        self.once(erase.once, move |tx| {
            Box::pin(async move {
                let erasure = Erasure {
                    tenant_id: &tenant_id,
                    selector: &selector,
                    word: word(&erase.chosen),
                    reason: &erase.reason,
                    approval_id: &erase.approval_id,
                    caused: &caused,
                    now,
                };
                erasure.run(tx).await
            })
        })
        .await
    }

    /// Erases the payloads and salts of every run that ended before `before` and is not held; gives how many runs.
    ///
    /// # Errors
    /// When the store can't be read or written; what was erased stays erased.
    pub async fn expire_payloads(&self, before: Micros) -> Result<u64, Fault> {
        let mut erased = 0;
        loop {
            let part = erasure::expired(self.db.read(), before, PART).await?;
            let full = part.len() == PART as usize;
            let mut went = 0;
            for (tenant_id, run_id) in part {
                went += u64::from(self.expire(tenant_id, run_id).await?);
            }
            metrics::ERASURES.add(went, &[]);
            erased += went;
            if !full || went == 0 {
                return Ok(erased);
            }
        }
    }

    /// Whether the run was erased: it may have been held since it was found.
    async fn expire(&self, tenant_id: String, run_id: String) -> Result<bool, Fault> {
        let now = self.clock.now();
        self.db
            .write("expire_payloads", move |tx| {
                Box::pin(async move {
                    let erasure = Erasure {
                        tenant_id: &tenant_id,
                        selector: &Selector::Run(run_id),
                        word: "RETENTION",
                        reason: "RETENTION",
                        approval_id: "",
                        caused: &Caused::default(),
                        now,
                    };
                    match erasure.run(tx).await {
                        Ok(_) => Ok(true),
                        Err(fault) if fault.is(&reasons::LEGAL_HOLD) => Ok(false),
                        Err(fault) => Err(fault),
                    }
                })
            })
            .await
    }
}

const fn word(chosen: &Chosen) -> &'static str {
    match chosen {
        Chosen::Tag(_) | Chosen::By(Selector::Subject(_)) => "SUBJECT",
        Chosen::By(Selector::Refs(_)) => "REFS",
        Chosen::By(Selector::Run(_)) => "RUN",
        Chosen::By(Selector::Tenant) => "TENANT",
    }
}

impl Erasure<'_> {
    async fn run(&self, tx: &mut Tx) -> Result<ErasePayloadsResponse, Fault> {
        erasure::one_at_a_time(tx, self.tenant_id).await?;
        let held = erasure::count_held(tx, self.tenant_id, self.selector).await?;
        self.may_erase(tx, held).await?;
        let erasure_id = new_id();
        let erased = erasure::erase(tx, self.tenant_id, self.selector, (&erasure_id, self.now)).await?;
        match self.selector {
            Selector::Run(run_id) => erasure::forget_run(tx, self.tenant_id, run_id).await?,
            Selector::Tenant => erasure::forget_tenant(tx, self.tenant_id).await?,
            Selector::Refs(_) | Selector::Subject(_) => {}
        }
        self.tell(tx, &erasure_id, erased, held).await?;
        metrics::ERASURES.add(erased, &[]);
        Ok(ErasePayloadsResponse {
            erasure_id,
            erased_count: erased,
            held_count: held,
            erased_at: Some(timestamp(self.now)),
        })
    }

    /// One run is erased whole or not at all; of several, those that are held stay.
    async fn may_erase(&self, tx: &mut Tx, held: u64) -> Result<(), Fault> {
        let Selector::Run(run_id) = self.selector else { return Ok(()) };
        if !erasure::is_run(tx, self.tenant_id, run_id).await? {
            return Err(Fault::new(&reasons::TRACE_NOT_FOUND, "there is no such run"));
        }
        if held > 0 || erasure::is_held(tx, self.tenant_id, run_id).await? {
            let message = "the run is under a legal hold; nothing was erased";
            return Err(Fault::new(&reasons::LEGAL_HOLD, message)
                .precondition(format!("runs/{run_id}"), "is under no legal hold"));
        }
        Ok(())
    }

    async fn tell(&self, tx: &mut Tx, erasure_id: &str, erased: u64, held: u64) -> Result<(), Fault> {
        let data = PayloadErased {
            erasure_id: erasure_id.to_owned(),
            selector: self.word.to_owned(),
            erased_count: erased,
            held_count: held,
            approval_id: self.approval_id.to_owned(),
            erased_at: Some(timestamp(self.now)),
        };
        let told = Told {
            name: "PayloadErased",
            data: &data,
            tenant_id: self.tenant_id,
            run_id: if let Selector::Run(run_id) = self.selector { run_id } else { "" },
            attempt: 0,
            step_index: None,
            entity: ("erasure", erasure_id.to_owned()),
            reason: self.reason,
        };
        announce(tx, told, None, self.caused, self.now).await
    }
}
