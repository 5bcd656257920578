//! The saga `export`: what other domains know of a run is brought to the export that waits for it.
//!
//! Declared when the spine hears of the order. Each part is gathered, added and acknowledged for itself; an added part
//! stays, so whoever finds the saga open goes on with the next. There is nothing to undo: a part that is gathered again
//! is not added again. A domain that can't be asked until the export's time is nearly over is named in it instead.

use contracts_common::common::v1::AckStatus;
use contracts_logs::v1::{
    AddExportPartRequest, AuditContract, ContractState, ExportOrdered, ExportPartHead, ExportPartStatus,
    add_export_part_request::Piece,
};
use prost::Message;
use runspine_errors::Outcome;
use runspine_rpc::{Context, micros};

use super::{
    completion::{Driven, Hitch, latest},
    journal::{FINALIZE, Journal, Part, promise},
};
use crate::{
    bridges::{Called, Miss},
    kernel::Kernel,
    reasons,
};

/// The saga's name.
pub(crate) const SAGA: &str = "export";

/// The action of each part, in the domain that it is asked of.
const PART: &str = "export_part";
/// How long a part may take before somebody looks after it, in milliseconds.
const PART_MS: u64 = 5_000;
/// How long the whole of it may take, in milliseconds: less than the export waits.
const FINALIZE_MS: u64 = 600_000;

fn journal(export_id: &str) -> Journal<'_> {
    Journal { saga: SAGA, subject: export_id, attempt: 1 }
}

impl Kernel {
    /// Promises the parts of an export, and brings as many as can be had now: whoever reads the journal later brings the
    /// rest.
    ///
    /// # Errors
    /// When they can't be promised: nothing was done, and it is to be told again.
    pub async fn export_ordered(&self, context: &Context, order: &ExportOrdered) -> Outcome<Driven> {
        let part = |source: &String| promise((source, PART), PART_MS, bytes::Bytes::new());
        let whole = promise(FINALIZE, FINALIZE_MS, order.encode_to_vec());
        let parts = order.sources.iter().map(part).chain([whole]).collect();
        let promised = self.promise_saga(context, journal(&order.export_id), parts, FINALIZE_MS).await;
        promised.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        let driven = self.drive_export(context, &order.export_id).await;
        Ok(driven.unwrap_or_else(|fault| Driven::Open(fault.to_string())))
    }

    /// Does what is left of a promised export, once.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(crate) async fn drive_export(&self, context: &Context, export_id: &str) -> Outcome<Driven> {
        self.drive_saga(context, journal(export_id), |contract| async move {
            self.advance_export(context, export_id, &contract).await
        })
        .await
    }

    async fn advance_export(
        &self,
        context: &Context,
        export_id: &str,
        contract: &AuditContract,
    ) -> Result<(), Hitch> {
        if contract.state() == ContractState::Closed {
            return Ok(());
        }
        let Some(order) = order_in(contract) else {
            return Err(Hitch::stuck("the order of the export can't be read"));
        };
        let context = context.for_run(&order.run_id);
        let mut waits = None;
        for source in &order.sources {
            let noted = latest(contract, (source, PART));
            if noted.is_some_and(|ack| matches!(ack.status(), AckStatus::Success | AckStatus::Failed)) {
                continue;
            }
            // One domain that is gone holds up no other.
            match self.bring(&context, &order, source).await {
                Ok(part) => {
                    let part = part.as_deref().map_or(Part::Done(export_id), Part::Failed);
                    self.note_saga(&context, journal(export_id), &[((source, PART), part)]).await?;
                }
                Err(Hitch::Later(why)) => waits = Some(why),
                Err(stuck) => return Err(stuck),
            }
        }
        if let Some(why) = waits {
            return Err(Hitch::Later(why));
        }
        self.note_saga(&context, journal(export_id), &[(FINALIZE, Part::Done(export_id))]).await?;
        self.judge_saga(&context, journal(export_id)).await
    }

    /// Gathers one part and adds it; gives why it is a failed one, when it is.
    async fn bring(
        &self,
        context: &Context,
        order: &ExportOrdered,
        source: &str,
    ) -> Result<Option<String>, Hitch> {
        let gathered = self.export_part(context, order, source).await;
        let (pieces, status, failed) = match gathered {
            Ok(pieces) => (pieces, ExportPartStatus::Ok, None),
            Err(miss) if passes(&miss) && !self.is_late(order) => {
                return Err(Hitch::Later(format!("{miss:?}")));
            }
            Err(miss) => (Vec::new(), unasked(&miss), Some(miss.reason())),
        };
        let head = ExportPartHead {
            export_id: order.export_id.clone(),
            source: source.to_owned(),
            status: status.into(),
            reason: failed.clone().unwrap_or_default(),
        };
        match self.add(context, head, pieces).await {
            Ok(()) => Ok(failed),
            // Somebody added it and died before that was noted; what the domain knows has changed since.
            Err(miss) if miss.is("IDEMPOTENCY_MISMATCH") => Ok(None),
            // The export was given up without it.
            Err(miss) if miss.is("EXPORT_CLOSED") => Ok(Some(miss.reason())),
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }

    async fn add(&self, context: &Context, head: ExportPartHead, pieces: Vec<Piece>) -> Called<()> {
        let messages: Vec<AddExportPartRequest> = std::iter::once(Piece::Head(head))
            .chain(pieces)
            .map(|piece| AddExportPartRequest { piece: Some(piece) })
            .collect();
        self.bridges.exports.add_part(context, tokio_stream::iter(messages)).await.map(|_| ())
    }

    /// Whether waiting longer would leave the export without any part: from half of its time on.
    fn is_late(&self, order: &ExportOrdered) -> bool {
        let until = order.waits_until.as_ref().map(micros);
        let half = i64::try_from(FINALIZE_MS / 2).unwrap_or(i64::MAX);
        until.is_none_or(|until| until.millis_since(self.now()) <= half)
    }
}

/// Whether asking again may help.
fn passes(miss: &Miss) -> bool {
    !miss.is_refusal() && !miss.is_misconfigured()
}

fn unasked(miss: &Miss) -> ExportPartStatus {
    if miss.is_timeout() {
        ExportPartStatus::Timeout
    } else if miss.is_misconfigured() {
        ExportPartStatus::Denied
    } else {
        ExportPartStatus::Error
    }
}

fn order_in(contract: &AuditContract) -> Option<ExportOrdered> {
    let whole = contract.expectations.iter().find(|e| (e.domain.as_str(), e.action.as_str()) == FINALIZE)?;
    ExportOrdered::decode(whole.input.clone()).ok()
}
