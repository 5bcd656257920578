//! The saga `incident_export`: what incidents know is frozen, logs makes the content of it and of what every other domain
//! knows, and incidents keep what became of it.
//!
//! Declared before anything is frozen. The parts of the content are the saga `export`'s, begun by logs' order; this one
//! begins it too, so that nobody waits for an event. There is one undo: an export that can't be made is given up where it
//! was prepared, with the reason and what it lacked.

use std::time::Duration;

use contracts_common::common::v1::AckStatus;
use contracts_incidents::v1::{
    CompleteExportRequest, FailExportRequest, IncidentExport, PrepareExportRequest,
};
use contracts_logs::v1::{
    AuditContract, ContractState, CreateExportRequest, CreateExportResponse, Export, ExportAttempt,
    ExportFormat, ExportIncidentKind, ExportOrdered, ExportScope, ExportState, GetExportRequest,
    IncidentOrder,
};
use contracts_spine::v1::IncidentExportPromise;
use prost::Message;
use runspine_errors::Outcome;
use runspine_rpc::Context;
use tokio::time::sleep;

use super::{
    completion::{Driven, Hitch, latest},
    journal::{FINALIZE, Journal, Part, promise},
};
use crate::{bridges::Miss, kernel::Kernel, reasons};

/// The saga's name.
pub(crate) const SAGA: &str = "incident_export";

const PREPARE: (&str, &str) = ("incidents", "prepare_export");
const CONTENT: (&str, &str) = ("logs", "create_export");
const CONCLUDE: (&str, &str) = ("incidents", "conclude_export");
/// How long the freezing may take before somebody looks after it, in milliseconds.
const PREPARE_MS: u64 = 5_000;
/// How long the content may take before somebody looks after it, in milliseconds.
const CONTENT_MS: u64 = 60_000;
/// How long the whole of it may take, in milliseconds: longer than the content waits.
const FINALIZE_MS: u64 = 1_200_000;

/// How often a content is looked at whose parts are all there, and how long is waited between.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What a content that can't be made lacks, where it says so.
struct Lack {
    reason: String,
    missing: Vec<String>,
}

fn journal(export_id: &str) -> Journal<'_> {
    Journal { saga: SAGA, subject: export_id, attempt: 1 }
}

impl Kernel {
    /// Promises an export of an incident, and does as much about it as can be done now: whoever reads the journal later
    /// does the rest.
    ///
    /// # Errors
    /// When it can't be promised: nothing was done.
    pub async fn incident_export_ordered(
        &self,
        context: &Context,
        order: &IncidentExportPromise,
    ) -> Outcome<Driven> {
        let parts = vec![
            promise(PREPARE, PREPARE_MS, bytes::Bytes::new()),
            promise(CONTENT, CONTENT_MS, bytes::Bytes::new()),
            promise(CONCLUDE, FINALIZE_MS, bytes::Bytes::new()),
            promise(FINALIZE, FINALIZE_MS, order.encode_to_vec()),
        ];
        let promised = self.promise_saga(context, journal(&order.export_id), parts, FINALIZE_MS).await;
        promised.map_err(|miss| {
            if miss.is_refusal() {
                crate::kernel::as_callers_fault(miss)
            } else {
                miss.into_fault(&reasons::RECORD_UNAVAILABLE)
            }
        })?;
        let driven = self.drive_incident_export(context, &order.export_id).await;
        Ok(driven.unwrap_or_else(|fault| Driven::Open(fault.to_string())))
    }

    /// The content of an export was made: its saga goes on.
    ///
    /// # Errors
    /// When its journal can't be read.
    pub async fn incident_export_made(&self, context: &Context, export_id: &str) -> Outcome<()> {
        self.drive_incident_export(context, export_id).await.map(drop)
    }

    /// Why incidents would not freeze anything. Empty: they did, or were not asked yet.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(crate) async fn incident_export_refused(
        &self,
        context: &Context,
        export_id: &str,
    ) -> Outcome<String> {
        let contract = self.read_saga(context, journal(export_id)).await?;
        let refused = latest(&contract, PREPARE).filter(|ack| ack.status() == AckStatus::Failed);
        Ok(refused.map(|ack| ack.error_reason.clone()).unwrap_or_default())
    }

    /// Does what is left of a promised export, once.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub(crate) async fn drive_incident_export(&self, context: &Context, export_id: &str) -> Outcome<Driven> {
        self.drive_saga(context, journal(export_id), |contract| async move {
            self.advance_incident_export(context, export_id, &contract).await
        })
        .await
    }

    async fn advance_incident_export(
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
        // Whoever goes on with it goes on for the one who asked.
        let context = context.with(|call| call.actor.clone_from(&order.actor));
        let Some(prepared) = self.freeze_incident(&context, &order).await? else {
            return self.close_export(&context, export_id).await;
        };
        let made = match self.order_content(&context, &order, &prepared).await? {
            Ok(created) => self.content_made(&context, &created).await?,
            Err(lack) => Err(lack),
        };
        self.conclude_export(&context, export_id, made).await?;
        self.close_export(&context, export_id).await
    }

    /// What incidents know, frozen. Nothing, when they refuse: then there is no export that could be given up.
    async fn freeze_incident(
        &self,
        context: &Context,
        order: &IncidentExportPromise,
    ) -> Result<Option<IncidentExport>, Hitch> {
        let request = PrepareExportRequest {
            export_id: order.export_id.clone(),
            incident_id: order.incident_id.clone(),
            kind: order.kind,
            reason: order.reason.clone(),
        };
        let id = order.export_id.as_str();
        match self.bridges.incident_exports.prepare(context, request).await {
            Ok(prepared) => {
                self.note_saga(context, journal(id), &[(PREPARE, Part::Done(id))]).await?;
                Ok(prepared.export)
            }
            Err(miss) if miss.is_refusal() => {
                let reason = miss.reason();
                let failed = [PREPARE, CONTENT, CONCLUDE].map(|part| (part, Part::Failed(&reason)));
                self.note_saga(context, journal(id), &failed).await?;
                Ok(None)
            }
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }

    /// Orders the content; the same order again is the first one.
    async fn order_content(
        &self,
        context: &Context,
        order: &IncidentExportPromise,
        prepared: &IncidentExport,
    ) -> Result<Result<CreateExportResponse, Lack>, Hitch> {
        let attempts = prepared
            .attempts
            .iter()
            .map(|struck| ExportAttempt { run_id: struck.run_id.clone(), attempt: struck.attempt });
        let request = CreateExportRequest {
            request_id: order.export_id.clone(),
            scope: ExportScope::Incident.into(),
            format: ExportFormat::try_from(order.format).unwrap_or_default().into(),
            reason: order.reason.clone(),
            incident: Some(IncidentOrder {
                incident_id: order.incident_id.clone(),
                incident_export_id: order.export_id.clone(),
                kind: ExportIncidentKind::try_from(order.kind).unwrap_or_default().into(),
                part_digest: prepared.part_digest.clone(),
                attempts: attempts.collect(),
            }),
            ..CreateExportRequest::default()
        };
        match self.bridges.exports.create(context, request).await {
            Ok(created) => Ok(Ok(created)),
            Err(miss) if miss.is_refusal() => Ok(Err(lack(&miss))),
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }

    /// Has the content made: it is there, it can't be, or it is waited for.
    async fn content_made(
        &self,
        context: &Context,
        created: &CreateExportResponse,
    ) -> Result<Result<Export, Lack>, Hitch> {
        let order = ordered(created);
        // Whether every part came is the other saga's; what became of the content is read below.
        let parts = self.export_ordered(context, &order).await?;
        // With its last part a content is made at once: whoever waits for the answer would only come back.
        for _ in 0..LOOKS {
            let get = GetExportRequest { export_id: order.export_id.clone() };
            let found = self.bridges.exports.get(context, get).await.map_err(|miss| Hitch::forward(&miss))?;
            let export = found.export.unwrap_or_default();
            match export.state() {
                ExportState::Completed => return Ok(Ok(export)),
                ExportState::Failed => {
                    return Ok(Err(Lack { reason: export.failure_reason, missing: export.missing_required }));
                }
                _ if matches!(parts, Driven::Open(_)) => break,
                _ => sleep(PAUSE).await,
            }
        }
        Err(Hitch::Later("the content is in the making".to_owned()))
    }

    /// Tells incidents what became of the export, and notes it.
    async fn conclude_export(
        &self,
        context: &Context,
        export_id: &str,
        made: Result<Export, Lack>,
    ) -> Result<(), Hitch> {
        let (told, content) = match &made {
            Ok(content) => {
                let request = CompleteExportRequest {
                    export_id: export_id.to_owned(),
                    content_export_id: content.export_id.clone(),
                    content_digest: content.content_digest.clone(),
                    content_size: content.size,
                };
                let told = self.bridges.incident_exports.complete(context, request).await.map(drop);
                (told, Part::Done(&content.export_id))
            }
            Err(lack) => {
                let request = FailExportRequest {
                    export_id: export_id.to_owned(),
                    reason: lack.reason.clone(),
                    missing: lack.missing.clone(),
                };
                let told = self.bridges.incident_exports.fail(context, request).await.map(drop);
                (told, Part::Failed(&lack.reason))
            }
        };
        told.map_err(|miss| Hitch::forward(&miss))?;
        let parts = [(CONTENT, content), (CONCLUDE, Part::Done(export_id))];
        self.note_saga(context, journal(export_id), &parts).await
    }

    async fn close_export(&self, context: &Context, export_id: &str) -> Result<(), Hitch> {
        self.note_saga(context, journal(export_id), &[(FINALIZE, Part::Done(export_id))]).await?;
        self.judge_saga(context, journal(export_id)).await
    }
}

/// The order as logs tells of it: the same message, so that either may begin its saga.
fn ordered(created: &CreateExportResponse) -> ExportOrdered {
    let export = created.export.clone().unwrap_or_default();
    let incident = export.incident.unwrap_or_default();
    ExportOrdered {
        export_id: export.export_id,
        scope: export.scope,
        run_id: export.run_id,
        attempt: export.attempt,
        sources: created.waits_for.clone(),
        waits_until: created.waits_until,
        incident_export_id: incident.incident_export_id,
        attempts: incident.attempts,
    }
}

fn lack(miss: &Miss) -> Lack {
    let missing = miss.details().preconditions.into_iter().map(|(subject, _)| subject).collect();
    Lack { reason: miss.reason(), missing }
}

fn order_in(contract: &AuditContract) -> Option<IncidentExportPromise> {
    let whole = contract.expectations.iter().find(|e| (e.domain.as_str(), e.action.as_str()) == FINALIZE)?;
    IncidentExportPromise::decode(whole.input.clone()).ok()
}
