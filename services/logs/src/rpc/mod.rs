//! The edge: requests become domain types, results become messages. No rule lives here.

pub mod audit;
mod certificate_service;
mod event_service;
mod export_orders;
mod export_parts;
mod export_service;
mod key_service;
mod mismatch_service;
mod parse;
mod payload_service;
mod present;
mod replay_service;
mod span_parse;
mod span_service;
mod trace_service;
mod watch;

pub use parse::words;
pub use present::{key, receipt};

use std::sync::Arc;

use contracts_logs::v1::{
    audit_contract_service_server::AuditContractServiceServer,
    certificate_service_server::CertificateServiceServer, event_service_server::EventServiceServer,
    evidence_service_server::EvidenceServiceServer, export_service_server::ExportServiceServer,
    inspection_service_server::InspectionServiceServer, key_service_server::KeyServiceServer,
    ledger_service_server::LedgerServiceServer, mismatch_service_server::MismatchServiceServer,
    payload_service_server::PayloadServiceServer, record_service_server::RecordServiceServer,
    replay_service_server::ReplayServiceServer, span_service_server::SpanServiceServer,
    trace_service_server::TraceServiceServer,
};
use runspine_rpc::Routes;

use crate::app::{App, audit::Audit};

/// The most bytes of spans in one call, as the contract of AppendSpans says.
const MAX_SPANS: usize = 65 * 1024 * 1024;

/// Everything that the domain serves.
pub fn routes(app: &Arc<App>, audit: &Arc<Audit>) -> Routes {
    Routes::new()
        .add(TraceServiceServer::new(trace_service::Traces { app: Arc::clone(app) }))
        .add(KeyServiceServer::new(key_service::Keys { app: Arc::clone(app) }))
        .add(ExportServiceServer::new(export_service::Exports { app: Arc::clone(app) }))
        .add(CertificateServiceServer::new(certificate_service::Certificates { app: Arc::clone(app) }))
        .add(MismatchServiceServer::new(mismatch_service::Mismatches { app: Arc::clone(app) }))
        .add(ReplayServiceServer::new(replay_service::Replays { app: Arc::clone(app) }))
        .add(PayloadServiceServer::new(payload_service::Payloads { app: Arc::clone(app) }))
        .add(InspectionServiceServer::new(payload_service::Inspection { app: Arc::clone(app) }))
        .add(
            SpanServiceServer::new(span_service::Spans { app: Arc::clone(app) })
                .max_decoding_message_size(MAX_SPANS),
        )
        .add(EventServiceServer::new(event_service::Events { app: Arc::clone(app) }))
        .add(AuditContractServiceServer::new(audit::Contracts(Arc::clone(audit))))
        .add(LedgerServiceServer::new(audit::Ledger(Arc::clone(audit))))
        .add(EvidenceServiceServer::new(audit::Evidence(Arc::clone(audit))))
        .add(RecordServiceServer::new(audit::Records(Arc::clone(audit))))
}
