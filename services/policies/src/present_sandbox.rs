//! What the sandbox found, as messages.

use contracts_common::common::v1 as common;
use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_policies_domain::{
    SEMANTICS_VERSION,
    sandbox::{
        backtest::Range,
        tally::{Cell, Tally},
    },
    words::{ShadowState, Verdict},
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Micros, hash};

use crate::store::{backtests::BacktestRow, diffs::DiffRow, shadows::ShadowRow};

/// A back-test.
pub(crate) fn backtest(row: &BacktestRow, range: Range, report: Option<pb::SandboxReport>) -> pb::Backtest {
    let time = |at: Micros| (at.0 > 0).then(|| timestamp(at));
    pb::Backtest {
        backtest_id: row.backtest_id.clone(),
        state: row.state,
        candidate_digest: row.candidate_digest.to_vec().into(),
        base_digest: row.base_digest.to_vec().into(),
        since: Some(timestamp(Micros(range.since))),
        until: Some(timestamp(Micros(range.until))),
        agent_ids: range.agents,
        run_ids: range.runs,
        examined: row.examined,
        total: row.total,
        actor: Some(common::Actor { r#type: row.actor_type, id: row.actor_id.clone() }),
        created_at: time(row.created_at),
        started_at: time(row.started_at),
        ended_at: time(row.ended_at),
        error: row.error.clone(),
        report,
        version: row.version,
    }
}

/// A shadow.
pub(crate) fn shadow(row: &ShadowRow, state: ShadowState) -> pb::Shadow {
    pb::Shadow {
        shadow_id: row.shadow_id.clone(),
        state: state.code(),
        candidate_digest: row.candidate_digest.to_vec().into(),
        base_digest: row.base_digest.to_vec().into(),
        sample_permille: row.sample_permille,
        ends_at: Some(timestamp(row.ends_at)),
        dropped: row.dropped,
        actor: Some(common::Actor { r#type: row.actor_type, id: row.actor_id.clone() }),
        created_at: Some(timestamp(row.created_at)),
        stopped_at: (row.stopped_at.0 > 0).then(|| timestamp(row.stopped_at)),
    }
}

/// A report: equal candidate, range and records give equal bytes.
pub(crate) fn report(candidate: Digest, range: &Range, tally: &Tally) -> pb::SandboxReport {
    let mut report = pb::SandboxReport {
        candidate_digest: candidate.to_vec().into(),
        since: Some(timestamp(Micros(range.since))),
        until: Some(timestamp(Micros(range.until))),
        semantics_version: SEMANTICS_VERSION,
        examined: tally.examined(),
        replayed: tally.replayed,
        not_replayable: tally
            .refused()
            .map(|(why, count, detail)| pb::NotReplayableCount {
                reason: why.code(),
                count,
                detail: detail.to_owned(),
            })
            .collect(),
        self_checked: tally.self_checked,
        self_check_ok: tally.self_check_failed.is_none(),
        self_check_failed_id: tally.self_check_failed.clone().unwrap_or_default(),
        matrix: tally.matrix().map(matrix_cell).collect(),
        changes: tally
            .changes()
            .into_iter()
            .map(|(recorded, dimension, key, count)| pb::ChangeCount {
                recorded: recorded.code(),
                dimension: dimension.code(),
                key: key.to_owned(),
                count,
            })
            .collect(),
        examples: tally.examples().map(|d| diff(d.into())).collect(),
        runs_affected: tally.runs_affected,
        cost_microusd_affected: tally.cost_affected,
        report_digest: bytes::Bytes::new(),
    };
    report.report_digest = hash(&report.encode_to_vec()).to_vec().into();
    report
}

fn matrix_cell((recorded, candidate, cell): (Verdict, Verdict, Cell)) -> pb::MatrixCell {
    pb::MatrixCell {
        recorded: recorded.code(),
        candidate: candidate.code(),
        count: cell.count,
        counterfactual: cell.counterfactual,
    }
}

/// What a candidate decides otherwise.
pub(crate) fn diff(r: DiffRow) -> pb::DecisionDiff {
    pb::DecisionDiff {
        decision_id: r.decision_id,
        run_id: r.run_id,
        attempt: r.attempt,
        step_index: u32::try_from(r.step_index).ok(),
        recorded: r.recorded,
        candidate: r.candidate,
        recorded_code: r.recorded_code,
        recorded_rule_id: r.recorded_rule,
        candidate_code: r.candidate_code,
        candidate_rule_id: r.candidate_rule,
        counterfactual: r.counterfactual,
        agent_id: r.agent_id,
        resource: r.resource,
    }
}
