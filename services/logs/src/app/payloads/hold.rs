//! Legal holds: what is held is not erased, whoever asks for it.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{LegalHold, LegalHoldReleased, LegalHoldSet, SetLegalHoldResponse};
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
    store::{
        erasure::{self, NewHold},
        payloads,
    },
};

/// A call.
#[derive(Debug, Clone)]
pub struct Hold {
    /// What identifies it.
    pub once: Once,
    /// The runs; empty when it is about a person.
    pub run_ids: Vec<String>,
    /// The person's tag.
    pub subject: String,
    /// Whether to hold, or to let go.
    pub hold: bool,
    /// Why.
    pub reason: String,
}

/// What one order is about.
struct About {
    run_id: String,
    subject: Option<Digest>,
}

impl App {
    /// Sets or releases holds and gives the answer as it is kept; the same request again gives the first one.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, PAYLOAD_NOT_FOUND, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn set_legal_hold(&self, call: &CallContext, hold: Hold) -> Result<Bytes, Fault> {
        let mut about: Vec<About> =
            hold.run_ids.iter().map(|run_id| About { run_id: run_id.clone(), subject: None }).collect();
        if about.is_empty() {
            let nobody = || Fault::new(&reasons::PAYLOAD_NOT_FOUND, "the tenant has no payloads of anybody");
            let key = payloads::parameter_key(self.db.read(), &call.tenant_id).await?.ok_or_else(nobody)?;
            about.push(About { run_id: String::new(), subject: Some(subject(&key, &hold.subject)) });
        }
        let (tenant_id, caused, now) = (call.tenant_id.clone(), Caused::by(call), self.clock.now());
        self.once(hold.once.clone(), move |tx| {
            Box::pin(async move {
                erasure::one_at_a_time(tx, &tenant_id).await?;
                let mut holds = Vec::with_capacity(about.len());
                for about in &about {
                    holds.push(order(tx, &tenant_id, &hold, about, &caused, now).await?);
                }
                Ok(SetLegalHoldResponse { holds })
            })
        })
        .await
    }
}

async fn order(
    tx: &mut Tx,
    tenant_id: &str,
    hold: &Hold,
    about: &About,
    caused: &Caused,
    now: Micros,
) -> Result<LegalHold, Fault> {
    if !about.run_id.is_empty() && !erasure::is_run(tx, tenant_id, &about.run_id).await? {
        return Err(
            Fault::new(&reasons::TRACE_NOT_FOUND, "there is no such run").with("run_id", &about.run_id)
        );
    }
    let hold_id = new_id();
    let new = NewHold {
        hold_id: &hold_id,
        run_id: &about.run_id,
        subject: about.subject,
        hold: hold.hold,
        reason: &hold.reason,
        actor_id: caused.actor_id(),
        set_at: now,
    };
    erasure::hold(tx, tenant_id, &new).await?;
    let subject_digest = about.subject.map(|s| Bytes::from(s.to_vec())).unwrap_or_default();
    let set = LegalHoldSet {
        hold_id: hold_id.clone(),
        run_id: about.run_id.clone(),
        subject_digest: subject_digest.clone(),
    };
    // Both events say the same of opposite orders.
    let released = LegalHoldReleased {
        hold_id: hold_id.clone(),
        run_id: about.run_id.clone(),
        subject_digest: subject_digest.clone(),
    };
    let entity = ("legal_hold", hold_id.clone());
    let (run_id, reason) = (about.run_id.as_str(), hold.reason.as_str());
    let name = if hold.hold { "LegalHoldSet" } else { "LegalHoldReleased" };
    if hold.hold {
        let told = Told { name, data: &set, tenant_id, run_id, attempt: 0, step_index: None, entity, reason };
        announce(tx, told, None, caused, now).await?;
    } else {
        let told =
            Told { name, data: &released, tenant_id, run_id, attempt: 0, step_index: None, entity, reason };
        announce(tx, told, None, caused, now).await?;
    }
    Ok(LegalHold {
        hold_id,
        run_id: about.run_id.clone(),
        subject_digest,
        hold: hold.hold,
        set_at: Some(timestamp(now)),
    })
}
