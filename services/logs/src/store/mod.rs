//! Statements and rows. Nothing here decides; everything runs inside the transaction it is given.

pub mod archives;
pub mod certificates;
pub mod chains;
pub mod checkpoint;
pub mod contract;
pub mod dispatch;
pub mod erasure;
pub mod evidence;
pub mod export_parts;
pub mod exports;
pub mod keys;
pub mod ledger;
pub mod llm_runs;
pub mod mismatches;
pub mod newest;
pub mod observed;
pub mod payloads;
pub mod purges;
pub mod records;
pub mod replays;
pub mod seals;
pub mod secrets;
pub mod spans;
pub mod system;
pub mod traces;

use runspine_db::Migrations;

/// The schema of the domain.
pub const MIGRATIONS: Migrations = runspine_db::migrations! {
    steps: [
        1 => "0001_traces",
        2 => "0002_contracts",
        3 => "0003_ledger",
        4 => "0004_evidence",
        5 => "0005_dispatches",
        6 => "0006_checkpoints",
        7 => "0007_llm_runs",
        8 => "0008_payloads",
        9 => "0009_certificates",
        10 => "0010_exports",
        11 => "0011_system_records",
        12 => "0012_archives",
        13 => "0013_replays",
        14 => "0014_purges",
        15 => "0015_export_certificates",
        16 => "0016_export_parts",
        17 => "0017_spans",
        18 => "0018_export_filters",
        19 => "0019_step_references",
        20 => "0020_observed_runs",
        21 => "0021_span_prices",
        22 => "0022_hot_references",
    ],
    append_only: [
        "traces", "trace_records", "trace_seals", "trace_links", "signing_keys", "signing_key_events",
        "contract_entries", "ledger", "evidence", "evidence_failures", "dispatch_records",
        "checkpoints", "cosignatures", "merkle_tiles", "mesh_leaves", "llm_run_records",
        "legal_holds", "certificates", "certificate_events", "mismatches", "mismatch_events",
        "exports", "export_events", "export_parts", "system_records",
        "trace_archives", "replays", "replay_checks", "replay_ends",
        "trace_purges", "otlp_spans", "step_references",
        "otlp_runs", "otlp_roots",
    ],
};
