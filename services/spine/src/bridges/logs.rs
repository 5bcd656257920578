//! The spine's view of logs.

use contracts_logs::v1::{
    AcknowledgeRequest, AcknowledgeResponse, AddExportPartRequest, AddExportPartResponse,
    AppendAddendumRequest, AppendAddendumResponse, AppendEntriesRequest, AppendEntriesResponse,
    AppendIntentRequest, AppendIntentResponse, AppendRecordsRequest, AppendRecordsResponse,
    AppendSpansRequest, AppendSpansResponse, AppendSystemRecordRequest, AppendSystemRecordResponse,
    CaptureEvidenceRequest, CaptureEvidenceResponse, CheckReplayStepsRequest, CheckReplayStepsResponse,
    ClaimObservedRunsRequest, ClaimObservedRunsResponse, ClaimOverdueRequest, ClaimOverdueResponse,
    ComputeIntegrityRequest, ComputeIntegrityResponse, CreateCheckpointRequest, CreateCheckpointResponse,
    CreateExportRequest, CreateExportResponse, DeclareExpectationsRequest, DeclareExpectationsResponse,
    FinishReplayRequest, FinishReplayResponse, GetAuditContractRequest, GetAuditContractResponse,
    GetContractBacklogRequest, GetContractBacklogResponse, GetExportRequest, GetExportResponse,
    GetReceiptRequest, GetReceiptResponse, GetReplayRequest, GetReplayResponse, GetTraceRequest,
    GetTraceResponse, LinkIncidentRequest, LinkIncidentResponse, ListEntriesRequest, ListEntriesResponse,
    ListEvidenceRequest, ListEvidenceResponse, ListRecordsRequest, ListRecordsResponse, ListReplaysRequest,
    ListReplaysResponse, MoveDeadlineRequest, MoveDeadlineResponse, ReconcileRequest, ReconcileResponse,
    ReleaseClaimRequest, ReleaseClaimResponse, SealTraceRequest, SealTraceResponse, StartReplayRequest,
    StartReplayResponse, StartTraceRequest, StartTraceResponse, UnparkContractRequest,
    UnparkContractResponse, VerifyTraceRequest, VerifyTraceResponse,
    audit_contract_service_client::AuditContractServiceClient,
    evidence_service_client::EvidenceServiceClient, export_service_client::ExportServiceClient,
    ledger_service_client::LedgerServiceClient, record_service_client::RecordServiceClient,
    replay_service_client::ReplayServiceClient, span_service_client::SpanServiceClient,
    trace_service_client::TraceServiceClient,
};

use super::bridge;

bridge! {
    /// Traces.
    LogsTraceBridge {
        /// Starts one.
        start: TraceServiceClient.start_trace(StartTraceRequest) -> StartTraceResponse;
        /// Appends to one.
        append: TraceServiceClient.append_records(AppendRecordsRequest) -> AppendRecordsResponse;
        /// Adds what came after the seal.
        addendum: TraceServiceClient.append_addendum(AppendAddendumRequest) -> AppendAddendumResponse;
        /// Seals one.
        seal: TraceServiceClient.seal_trace(SealTraceRequest) -> SealTraceResponse;
        /// Proves one.
        verify: TraceServiceClient.verify_trace(VerifyTraceRequest) -> VerifyTraceResponse;
    }
}

bridge! {
    /// Spans of OpenTelemetry.
    LogsSpanBridge {
        /// Stores them.
        append: SpanServiceClient.append_spans(AppendSpansRequest) -> AppendSpansResponse;
        /// Takes observed runs that have to be looked after.
        claim_observed: SpanServiceClient.claim_observed_runs(ClaimObservedRunsRequest) -> ClaimObservedRunsResponse;
    }
}

bridge! {
    /// What traces hold.
    LogsReadBridge {
        /// The record of a key, with its receipt and kept answer.
        receipt: TraceServiceClient.get_receipt(GetReceiptRequest) -> GetReceiptResponse;
        /// The head of a trace.
        trace: TraceServiceClient.get_trace(GetTraceRequest) -> GetTraceResponse;
        /// Its records.
        records: TraceServiceClient.list_records(ListRecordsRequest) -> ListRecordsResponse;
    }
}

bridge! {
    /// Audit contracts.
    LogsContractBridge {
        /// Promises what has to happen.
        declare: AuditContractServiceClient.declare_expectations(DeclareExpectationsRequest)
            -> DeclareExpectationsResponse;
        /// Says what was done.
        acknowledge: AuditContractServiceClient.acknowledge(AcknowledgeRequest) -> AcknowledgeResponse;
        /// Says what is about to be done.
        intent: AuditContractServiceClient.append_intent(AppendIntentRequest) -> AppendIntentResponse;
        /// Moves or suspends a deadline.
        move_deadline: AuditContractServiceClient.move_deadline(MoveDeadlineRequest) -> MoveDeadlineResponse;
        /// Judges.
        reconcile: AuditContractServiceClient.reconcile(ReconcileRequest) -> ReconcileResponse;
    }
}

bridge! {
    /// What the reconciler needs.
    LogsReconcilerBridge {
        /// Claims contracts that are overdue.
        claim: AuditContractServiceClient.claim_overdue(ClaimOverdueRequest) -> ClaimOverdueResponse;
        /// Gives a claim back.
        release: AuditContractServiceClient.release_claim(ReleaseClaimRequest) -> ReleaseClaimResponse;
        /// A contract with all that was journalled.
        contract: AuditContractServiceClient.get_audit_contract(GetAuditContractRequest) -> GetAuditContractResponse;
        /// What waits.
        backlog: AuditContractServiceClient.get_contract_backlog(GetContractBacklogRequest)
            -> GetContractBacklogResponse;
        /// Lets one go on that waits for a person.
        unpark: AuditContractServiceClient.unpark_contract(UnparkContractRequest) -> UnparkContractResponse;
    }
}

bridge! {
    /// The governance ledger.
    LogsLedgerBridge {
        /// Appends to it.
        append: LedgerServiceClient.append_entries(AppendEntriesRequest) -> AppendEntriesResponse;
        /// Reads it.
        entries: LedgerServiceClient.list_entries(ListEntriesRequest) -> ListEntriesResponse;
        /// Ties an incident to the trace that it is about.
        link_incident: TraceServiceClient.link_incident(LinkIncidentRequest) -> LinkIncidentResponse;
    }
}

bridge! {
    /// What the mesh itself did.
    LogsSystemBridge {
        /// Keeps a record of it.
        append: RecordServiceClient.append_system_record(AppendSystemRecordRequest) -> AppendSystemRecordResponse;
    }
}

bridge! {
    /// Evidence.
    LogsEvidenceBridge {
        /// Captures it.
        capture: EvidenceServiceClient.capture_evidence(CaptureEvidenceRequest) -> CaptureEvidenceResponse;
        /// Lists it.
        list: EvidenceServiceClient.list_evidence(ListEvidenceRequest) -> ListEvidenceResponse;
        /// Grades it.
        grade: EvidenceServiceClient.compute_integrity(ComputeIntegrityRequest) -> ComputeIntegrityResponse;
    }
}

/// The messages of one part of an export.
pub type ExportPieces = tokio_stream::Iter<std::vec::IntoIter<AddExportPartRequest>>;

bridge! {
    /// Exports, and what other domains know for them.
    LogsExportBridge {
        /// Orders one.
        create: ExportServiceClient.create_export(CreateExportRequest) -> CreateExportResponse;
        /// What became of one.
        get: ExportServiceClient.get_export(GetExportRequest) -> GetExportResponse;
        /// Adds what one domain knows.
        add_part: ExportServiceClient.add_export_part(ExportPieces) -> AddExportPartResponse;
        /// Puts the ledger as it stands under a checkpoint.
        checkpoint: LedgerServiceClient.create_checkpoint(CreateCheckpointRequest) -> CreateCheckpointResponse;
    }
}

/// Steps of a replay as they are done again.
pub type ReplayReports = tokio_stream::wrappers::ReceiverStream<CheckReplayStepsRequest>;

bridge! {
    /// Replays.
    LogsReplayBridge {
        /// Opens one.
        start: ReplayServiceClient.start_replay(StartReplayRequest) -> StartReplayResponse;
        /// Compares its steps.
        check: ReplayServiceClient.check_replay_steps(ReplayReports) -> tonic::Streaming<CheckReplayStepsResponse>;
        /// Ends it.
        finish: ReplayServiceClient.finish_replay(FinishReplayRequest) -> FinishReplayResponse;
        /// One with its plan.
        get: ReplayServiceClient.get_replay(GetReplayRequest) -> GetReplayResponse;
        /// Lists them.
        list: ReplayServiceClient.list_replays(ListReplaysRequest) -> ListReplaysResponse;
    }
}
