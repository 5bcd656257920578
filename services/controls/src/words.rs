//! The words of the contract and of the rules, in both directions: their numbers are the same.

use contracts_common::common::v1 as common;
use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    admission::{Answer, Finding},
    estimate::Amounts,
    limit::{Degrade, Limit, LimitSpec},
    threshold::{Params, Wrong},
    words::{AmbiguousCharge, Category, Consequence, Enforcement, Overage, PeriodKind, Scope, Unit},
};
use runspine_db::DbError;
use runspine_rpc::timestamp;
use runspine_types::Micros;

/// A stored number that must stand for a word.
///
/// # Errors
/// When this version does not know it.
pub fn stored<T>(word: Option<T>) -> Result<T, DbError> {
    word.ok_or(DbError::Argument("a stored word is not known to this version"))
}

/// A spec as it travels.
#[must_use]
pub fn spec_to(spec: &LimitSpec) -> pb::LimitSpec {
    pb::LimitSpec {
        name: spec.name.clone(),
        description: spec.description.clone(),
        category: spec.category.code(),
        unit: spec.unit.code(),
        scope: spec.scope.code(),
        scope_id: spec.scope_id.clone(),
        max_value: spec.max_value,
        warn_permille: spec.warn_permille,
        block_permille: spec.block_permille,
        enforcement: spec.enforcement.code(),
        max_wait_s: Some(spec.max_wait_s),
        consequence: spec.consequence.code(),
        overage: spec.overage.code(),
        overdraft_limit: spec.overdraft_limit,
        period: spec.period.map_or(0, PeriodKind::code),
        utc_offset_minutes: spec.utc_offset_minutes,
        rollover: spec.rollover,
        rollover_max_permille: Some(spec.rollover_max_permille),
        ambiguous_charge: spec.ambiguous_charge.code(),
        window_s: spec.window_s,
        burst: spec.burst,
        params: params_to(&spec.params),
        degrade: degrade_to(&spec.degrade),
    }
}

/// The bounds of a threshold as they travel.
#[must_use]
pub fn params_to(params: &Params) -> Vec<pb::ThresholdValue> {
    let value = |(key, value): (&str, i64)| pb::ThresholdValue { key: key.to_owned(), value };
    params.pairs().into_iter().map(value).collect()
}

/// The bounds of a threshold, and what is wrong with their keys.
#[must_use]
pub fn params_from(values: &[pb::ThresholdValue], field: &str) -> (Params, Vec<Wrong>) {
    Params::parse(values.iter().map(|v| (v.key.as_str(), v.value)), field)
}

fn degrade_to(degrade: &Degrade) -> Option<pb::Degrade> {
    let Degrade { cap_tokens, use_model, dry_run } = degrade.clone();
    (!degrade.is_empty()).then_some(pb::Degrade { cap_tokens, use_model, dry_run })
}

/// The obligations of a DEGRADE limit.
#[must_use]
pub fn degrade_from(degrade: Option<&pb::Degrade>) -> Degrade {
    let stated = degrade.cloned().unwrap_or_default();
    Degrade { cap_tokens: stated.cap_tokens, use_model: stated.use_model, dry_run: stated.dry_run }
}

/// A spec that has every word set; `None` when one is missing or unknown.
#[must_use]
pub fn spec_from(spec: &pb::LimitSpec) -> Option<LimitSpec> {
    Some(LimitSpec {
        name: spec.name.clone(),
        description: spec.description.clone(),
        category: Category::from_code(spec.category)?,
        unit: Unit::from_code(spec.unit)?,
        scope: Scope::from_code(spec.scope)?,
        scope_id: spec.scope_id.clone(),
        max_value: spec.max_value,
        warn_permille: spec.warn_permille,
        block_permille: spec.block_permille,
        enforcement: Enforcement::from_code(spec.enforcement)?,
        max_wait_s: spec.max_wait_s.unwrap_or(30),
        consequence: Consequence::from_code(spec.consequence)?,
        overage: Overage::from_code(spec.overage)?,
        overdraft_limit: spec.overdraft_limit,
        period: if spec.period == 0 { None } else { Some(PeriodKind::from_code(spec.period)?) },
        utc_offset_minutes: spec.utc_offset_minutes,
        rollover: spec.rollover,
        rollover_max_permille: spec.rollover_max_permille.unwrap_or(200),
        ambiguous_charge: AmbiguousCharge::from_code(spec.ambiguous_charge)?,
        window_s: spec.window_s,
        burst: spec.burst,
        params: params_from(&spec.params, "spec.params").0,
        degrade: degrade_from(spec.degrade.as_ref()),
    })
}

/// A limit as it travels.
#[must_use]
pub fn limit_to(limit: &Limit) -> pb::Limit {
    pb::Limit {
        limit_id: limit.id.clone(),
        spec: Some(spec_to(&limit.spec)),
        source: limit.source.code(),
        state: limit.state.code(),
        version: limit.version,
        created_at: Some(timestamp(limit.created_at)),
        updated_at: Some(timestamp(limit.updated_at)),
    }
}

/// Amounts as the rules want them; `count` steps.
#[must_use]
pub fn amounts_from(amounts: Option<&common::Amounts>, count: i64) -> Amounts {
    let stated = amounts.copied().unwrap_or_default();
    Amounts {
        cost_microusd: stated.cost_microusd,
        tokens_input: stated.tokens_input,
        tokens_output: stated.tokens_output,
        duration_ms: stated.duration_ms,
        count,
    }
}

/// Amounts as they travel.
#[must_use]
pub fn amounts_to(amounts: &Amounts) -> common::Amounts {
    common::Amounts {
        cost_microusd: amounts.cost_microusd,
        tokens_input: amounts.tokens_input,
        tokens_output: amounts.tokens_output,
        duration_ms: amounts.duration_ms,
    }
}

/// A finding as it travels.
#[must_use]
pub fn reason_to(finding: &Finding) -> common::Reason {
    let (check, precedence) = finding.check.label();
    common::Reason {
        check: check.to_owned(),
        code: finding.code.to_owned(),
        source_id: finding.source_id.clone(),
        version: finding.version,
        outcome: finding.verdict.code(),
        precedence,
        message: finding.message.clone(),
        current: finding.numbers.map(|n| n.0),
        limit_value: finding.numbers.map(|n| n.1),
        unit: finding.numbers.map_or("", |n| n.2).to_owned(),
    }
}

/// An answer as it travels.
#[must_use]
pub fn admission_to(answer: &Answer, epoch: u64, digest: &[u8; 32], evidence_id: String) -> pb::Admission {
    let all = |findings: &[Finding]| findings.iter().map(reason_to).collect();
    pb::Admission {
        verdict: answer.verdict.code(),
        directive: answer.directive.code(),
        reasons: all(&answer.reasons),
        would_block: all(&answer.would_block),
        warnings: all(&answer.warnings),
        retry_after_ms: answer.retry_after_ms(),
        freeze_epoch: epoch,
        control_set_digest: digest.to_vec().into(),
        evidence_id,
        degraded: false,
        override_ids: Vec::new(),
        bypass_confirmed: false,
        obligations: answer
            .obligations()
            .into_iter()
            .map(|(name, args)| common::Obligation { name: name.to_owned(), args })
            .collect(),
    }
}

/// A time that may be absent, as it travels.
#[must_use]
pub fn optional(at: Option<Micros>) -> Option<prost_types::Timestamp> {
    at.map(timestamp)
}
