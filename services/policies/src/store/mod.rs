//! The tables of the domain. Runs inside the transaction it is given and decides nothing.

pub(crate) mod approval_part;
pub(crate) mod approvals;
pub(crate) mod backtests;
pub(crate) mod diffs;
pub(crate) mod evaluations;
pub(crate) mod findings;
pub(crate) mod health;
pub(crate) mod hot;
pub(crate) mod lessons;
pub(crate) mod lists;
pub(crate) mod monitors;
pub(crate) mod preventions;
pub(crate) mod proposals;
pub(crate) mod rules;
pub(crate) mod runs;
pub(crate) mod shadows;
pub(crate) mod snapshots;
pub(crate) mod violations;

use runspine_db::Migrations;

/// The schema.
pub const MIGRATIONS: Migrations = runspine_db::migrations! {
    steps: [
        1 => "0001_policies", 2 => "0002_sandbox", 3 => "0003_approvals", 4 => "0004_shadows", 5 => "0005_findings",
        6 => "0006_violation_kinds", 7 => "0007_monitors", 8 => "0008_lessons", 9 => "0009_preventions",
        10 => "0010_health", 11 => "0011_lesson_patterns", 12 => "0012_templates",
        13 => "0013_drafts",
    ],
    append_only: [
        "rule_versions", "rule_transitions", "snapshots", "snapshot_transitions", "snapshot_recalls",
        "setting_changes", "decisions", "enforcements", "step_facts", "violations", "evaluations",
        "evaluation_supersessions", "backtest_diffs", "approval_votes", "approval_uses", "approval_transitions",
        "shadow_decisions", "analyses", "findings", "analysis_findings", "finding_acks", "lesson_transitions",
        "lesson_sources", "proposal_reviews", "preventions",
    ],
};
