//! What logs counts, under the names of its specification. No label has a tenant or a run.

use std::time::Instant;

use contracts_logs::v1::RecordBody;
use runspine_errors::{Fault, Kind};
use runspine_logs_domain::trace::Body;
use runspine_redact::{Counts, Operation};
use runspine_telemetry::{Counter, Gauge, Histogram, KeyValue, is_read};

use crate::app::{append_records::Receipt, payloads::denials::number, spans::Taken};

static RECORDS: Counter =
    Counter::new("runspine_logs_records_appended_total", "Records appended to traces, by body");
static APPEND: Histogram =
    Histogram::seconds("runspine_logs_append_seconds", "An append of records until it was durable");
/// Records that one commit appends.
pub(crate) static GROUP: Histogram =
    Histogram::sizes("runspine_logs_group_size", "Records that were appended by one commit");
/// Calls and items that were done before.
pub(crate) static DUPLICATES: Counter =
    Counter::new("runspine_logs_duplicates_total", "Calls and records that were stored before, by operation");
static CONFLICTS: Counter =
    Counter::new("runspine_logs_conflicts_total", "Writes refused for what is stored already, by reason");
/// Traces that were sealed.
pub(crate) static SEALS: Counter =
    Counter::new("runspine_logs_seals_total", "Traces sealed, by the verdict on their contract");
/// Proofs of traces.
pub(crate) static PROOFS: Counter = Counter::new("runspine_logs_proofs_total", "Proofs of traces, by status");
/// How long a run's proof took.
pub(crate) static PROOF: Histogram =
    Histogram::seconds("runspine_logs_proof_seconds", "The proof of a run's traces");
/// Contracts that wait for something with a deadline.
pub(crate) static CONTRACTS_OPEN: Gauge =
    Gauge::new("runspine_logs_contracts_open", "Contracts that wait for something with a deadline");
/// Contracts whose deadline is over.
pub(crate) static CONTRACTS_OVERDUE: Gauge =
    Gauge::new("runspine_logs_contracts_overdue", "Contracts that wait for something whose deadline is over");
/// Contracts that wait for an operator.
pub(crate) static CONTRACTS_PARKED: Gauge =
    Gauge::new("runspine_logs_contracts_parked", "Contracts that wait for an operator");
/// How long the oldest entry of a ledger waits for a checkpoint.
pub(crate) static CHECKPOINT_AGE: Gauge = Gauge::new(
    "runspine_logs_checkpoint_age_seconds",
    "How long the oldest entry of a ledger that no checkpoint covers has waited",
);
/// Verdicts on contracts.
pub(crate) static RECONCILIATIONS: Counter =
    Counter::new("runspine_logs_reconciliations_total", "Verdicts on contracts, by verdict");
/// What verdicts found.
pub(crate) static FINDINGS: Counter =
    Counter::new("runspine_logs_findings_total", "Findings of verdicts on contracts, by code");
/// How long a judgement took.
pub(crate) static RECONCILE: Histogram =
    Histogram::seconds("runspine_logs_reconcile_seconds", "A judgement on a contract until it was durable");
static LEDGER: Counter =
    Counter::new("runspine_logs_ledger_entries_total", "Entries appended to the ledger, by type");
static DENIED: Counter = Counter::new(
    "runspine_logs_inspection_denied_total",
    "Payloads not stored for a constraint, by operation",
);
static REDACTIONS: Counter =
    Counter::new("runspine_logs_redactions_total", "Places redacted in stored payloads, by class");
/// Payloads that were erased.
pub(crate) static ERASURES: Counter = Counter::new(
    "runspine_logs_payload_erasures_total",
    "Payloads erased, on request or at the end of their time",
);
/// Evidence that could not be captured.
pub(crate) static EVIDENCE_FAILURES: Counter = Counter::new(
    "runspine_logs_evidence_failures_total",
    "Evidence that could not be captured, by kind and reason",
);
static SPANS: Counter =
    Counter::new("runspine_logs_spans_total", "OpenTelemetry spans, by what became of them");
/// Streams that are open.
pub(crate) static WATCH_STREAMS: Gauge =
    Gauge::new("runspine_logs_watch_streams", "Streams that are open, over all tenants");
/// From the order of an export to its content.
pub(crate) static EXPORT: Histogram =
    Histogram::seconds("runspine_logs_export_seconds", "An export from its order until it was made");

/// An append and what came of it, record by record.
pub(crate) fn appended(begun: Instant, bodies: &[Body], outcome: &Result<Vec<Receipt>, Fault>) {
    APPEND.since(begun, &[]);
    let receipts = match outcome {
        Ok(receipts) => receipts,
        Err(fault) => return refused(fault),
    };
    for (body, receipt) in bodies.iter().zip(receipts) {
        if receipt.duplicate {
            DUPLICATES.increment(&[("op", "AppendRecords")]);
        } else {
            made(&[*body]);
        }
    }
}

/// Records that were made.
pub(crate) fn made(bodies: &[Body]) {
    for body in bodies {
        let name = RecordBody::try_from(*body as i32).unwrap_or_default().as_str_name();
        RECORDS.increment(&[("body", name.trim_start_matches("RECORD_BODY_"))]);
    }
}

/// A write that was refused; counted when something stored stands against it.
pub(crate) fn refused(fault: &Fault) {
    if matches!(fault.kind(), Kind::Conflict | Kind::Aborted) {
        CONFLICTS.increment(&[("reason", fault.reason().name)]);
    }
}

/// Payloads that a constraint forbade to store.
pub(crate) fn denied(operations: &[Operation]) {
    for operation in operations {
        let name = number(*operation).as_str_name();
        DENIED.increment(&[("operation", name.trim_start_matches("INSPECTION_OPERATION_"))]);
    }
}

/// What was redacted in a payload.
pub(crate) fn redacted(counts: &Counts) {
    for (class, count) in counts.iter() {
        REDACTIONS.add(u64::from(count), &[("class", class.name())]);
    }
}

/// Spans of one request.
pub(crate) fn spans(taken: &Taken) {
    let results = [
        ("STORED", taken.stored - taken.late),
        ("LATE", taken.late),
        ("DUPLICATE", taken.duplicates),
        ("IGNORED", taken.ignored),
        ("REJECTED", taken.rejected.len() as u64),
    ];
    for (result, count) in results.into_iter().filter(|(_, count)| *count > 0) {
        SPANS.add(count, &[("result", result)]);
    }
}

/// An entry of the ledger. Its type is one of the events that the contracts declare.
pub(crate) fn entered(event_type: &str) {
    if is_read() {
        LEDGER.add_prepared(1, &[KeyValue::new("type", event_type.to_owned())]);
    }
}
