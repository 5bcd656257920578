//! What an admission, a settlement or the end of a run comes near to is said once for each run, key and level.

use contracts_common::common::v1 as common;
use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    admission::{Effect, Finding},
    limit::{Key, Limit, RunScope, permille},
    overrides::{Override, held},
    reasons,
    signal::{RiskLevel, SignalType, neared, type_of},
    threshold::{Effective, FAILED_IN_A_ROW, FAILURE_SIGNAL, Level, Used, passed},
    words::{BreachType, Category, Enforcement, Unit},
};
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_types::Micros;

use super::{
    App,
    accounts::Ask,
    admit::unknown_run,
    records::{NewBreach, NewSignal},
};
use crate::store::{
    desk::{Desk, RunRef},
    envelopes::Applicable,
    signals,
};

/// When and about which step something is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub run: Key,
    pub step: Option<u32>,
    pub at: Micros,
}

/// What an attempt has used, as thresholds count it.
pub(crate) fn used(totals: &common::Totals) -> Used {
    Used {
        cost_microusd: totals.cost_microusd,
        tokens: totals.tokens_input.saturating_add(totals.tokens_output),
        time_ms: totals.duration_ms,
        steps: totals.steps,
        ..Used::default()
    }
}

impl Desk<'_> {
    /// Thresholds of the attempt: signals for those that are near, and the breach of a limit that was reached.
    pub(super) fn watch_thresholds(
        &mut self,
        moment: Moment,
        limits: &[Applicable],
        used: &Used,
    ) -> Vec<pb::ThresholdLevel> {
        let stated = limits.iter().filter(|(l, _)| l.spec.category == Category::Threshold);
        let effective = Effective::merge(stated.map(|(l, _)| l.as_ref()));
        let found = neared(&effective, used);
        for near in &found {
            let reached = near.level == Level::Reached;
            self.signal(NewSignal {
                run: moment.run,
                tenant: None,
                kind: type_of(Category::Threshold, near.bound.unit()),
                source: near.source.clone().unwrap_or_else(|| near.bound.name().to_owned()),
                level: if reached { RiskLevel::AtRisk } else { RiskLevel::NearThreshold },
                window: Micros(0),
                metric: near.bound.name().to_owned(),
                unit: near.bound.unit(),
                current: near.actual,
                limit_value: near.limit_value,
                permille: near.permille,
                step: moment.step,
                at: moment.at,
            });
            let row = limits.iter().find(|(l, _)| near.source.as_ref() == Some(&l.id));
            // What blocks is breached when it refuses, or is passed.
            if let Some((_, row)) = row.filter(|(l, _)| reached && l.spec.enforcement != Enforcement::Block) {
                self.breach(NewBreach {
                    envelope: row.envelope_key,
                    period_start: Micros(0),
                    run: moment.run,
                    step: moment.step,
                    kind: BreachType::Breached,
                    value: near.actual,
                    limit_value: near.limit_value,
                    override_id: None,
                    orders: false,
                    at: moment.at,
                });
            }
        }
        found
            .into_iter()
            .map(|near| pb::ThresholdLevel {
                key: near.bound.name().to_owned(),
                source: near.source.unwrap_or_default(),
                actual: near.actual,
                value: near.limit_value,
                proximity_permille: near.permille,
                level: match near.level {
                    Level::Reached => pb::ProximityLevel::Reached as i32,
                    _ => pb::ProximityLevel::Near as i32,
                },
            })
            .collect()
    }

    /// Thresholds that block and were passed all the same: by what a step, or the attempt with it, really used.
    pub(super) fn watch_overruns(&mut self, moment: Moment, limits: &[Applicable], used: &Used) {
        let blocks =
            |l: &Limit| l.spec.category == Category::Threshold && l.spec.enforcement == Enforcement::Block;
        for (limit, row) in limits.iter().filter(|(l, _)| blocks(l)) {
            for over in passed(&limit.spec.params, used, &Used::default()) {
                let numbers = (over.would_be, over.limit_value, Micros(0));
                self.signal_limit(moment, limit, RiskLevel::Violated, numbers);
                self.breach(NewBreach {
                    envelope: row.envelope_key,
                    period_start: Micros(0),
                    run: moment.run,
                    step: moment.step,
                    kind: BreachType::Violated,
                    value: over.would_be,
                    limit_value: over.limit_value,
                    override_id: None,
                    orders: false,
                    at: moment.at,
                });
            }
        }
    }

    /// A limit that refused, or would have.
    pub(super) fn signal_refusal(
        &mut self,
        moment: Moment,
        limit: &Limit,
        finding: &Finding,
        effect: Effect,
    ) {
        let (current, limit_value) = finding.numbers.map_or((0, 0), |n| (n.0, n.1));
        // What waits for tokens or slots is at risk; only what was or would have been stopped for good is violated.
        let stops = matches!(effect, Effect::Blocks(_)) && limit.spec.category == Category::Threshold;
        self.signal_limit(
            moment,
            limit,
            if stops { RiskLevel::Violated } else { RiskLevel::AtRisk },
            (current, limit_value, Micros(0)),
        );
    }

    /// A limit of a run that is near, reached or passed.
    pub(super) fn signal_limit(
        &mut self,
        moment: Moment,
        limit: &Limit,
        level: RiskLevel,
        (current, limit_value, window): (i64, i64, Micros),
    ) {
        self.signal(NewSignal {
            run: moment.run,
            tenant: None,
            kind: type_of(limit.spec.category, limit.spec.unit),
            source: limit.id.clone(),
            level,
            window,
            metric: limit.spec.unit.name().to_lowercase(),
            unit: limit.spec.unit,
            current,
            limit_value,
            permille: permille(current, limit_value),
            step: moment.step,
            at: moment.at,
        });
    }

    /// Three failed steps in a row, or a failed run.
    pub(super) fn signal_failure(&mut self, moment: Moment, failures: i64, limits: &[Applicable]) {
        let stated = limits.iter().filter(|(l, _)| l.spec.category == Category::Threshold);
        let wanted = Effective::merge(stated.map(|(l, _)| l.as_ref())).failure_signal;
        if wanted.value {
            self.signal(NewSignal {
                run: moment.run,
                tenant: None,
                kind: SignalType::Reliability,
                source: FAILURE_SIGNAL.to_owned(),
                level: RiskLevel::AtRisk,
                window: Micros(0),
                metric: "failures".to_owned(),
                unit: Unit::Steps,
                current: failures,
                limit_value: FAILED_IN_A_ROW,
                permille: permille(failures, FAILED_IN_A_ROW),
                step: moment.step,
                at: moment.at,
            });
        }
    }

    /// Counts how a step ended.
    pub(super) fn count_failure(
        &mut self,
        moment: Moment,
        outcome: common::StepOutcome,
        limits: &[Applicable],
    ) {
        let before = self.run_by_key(moment.run).map_or(0, |r| r.failed_in_row);
        let after = match outcome {
            common::StepOutcome::Failure => before + 1,
            common::StepOutcome::Success => 0,
            _ => before,
        };
        if after != before {
            self.change_run(moment.run, |row| row.failed_in_row = after);
        }
        if after == FAILED_IN_A_ROW && before < after {
            self.signal_failure(moment, after, limits);
        }
    }

    /// The limits that a step of a run is counted in of which only the run is known.
    pub(super) fn limits_of_run(&mut self, scope: RunScope) -> Vec<Applicable> {
        self.applicable(&scope.of_unknown_step(), false)
    }

    /// The thresholds that hold for the steps of a run.
    pub(super) fn effective_of(&self, scope: &RunScope) -> Vec<pb::EffectiveThreshold> {
        let set = self.set(&scope.tenant_id);
        let mine = set.active.iter().filter(|l| l.spec.category == Category::Threshold);
        effective_to(&in_scope(mine.map(AsRef::as_ref), &set.overrides, scope, self.at))
    }

    /// Evaluates the thresholds of an attempt once more.
    pub(super) fn evaluate(
        &mut self,
        run: &RunRef,
        totals: &common::Totals,
        failed: bool,
        now: Micros,
    ) -> Result<pb::EvaluateRunThresholdsResponse, Fault> {
        let Some(lease) = self.run(run).cloned() else { return Err(unknown_run(&run.run_id)) };
        let limits = self.limits_of_run(lease.run_scope()?);
        let moment = Moment { run: lease.run_key, step: None, at: now };
        let levels = self.watch_thresholds(moment, &limits, &used(totals));
        self.watch_overruns(moment, &limits, &used(totals));
        self.compare_thresholds(moment, &limits, &used(totals));
        if failed {
            self.signal_failure(moment, lease.failed_in_row.max(1), &limits);
        }
        Ok(pb::EvaluateRunThresholdsResponse { levels })
    }
}

/// The thresholds that hold for a scope: of the limits, each with the value that it has at a time.
pub fn in_scope<'a>(
    limits: impl Iterator<Item = &'a Limit>,
    overrides: &[Override],
    scope: &RunScope,
    at: Micros,
) -> Effective {
    let mut mine = Vec::new();
    for limit in limits {
        if let Some(id) = limit.scope_id(scope) {
            mine.push(held(limit, overrides, id, at));
        }
    }
    Effective::merge(mine.iter().map(AsRef::as_ref))
}

/// The effective thresholds as they travel.
#[must_use]
pub fn effective_to(effective: &Effective) -> Vec<pb::EffectiveThreshold> {
    let row = |key: &str, value: i64, source: &Option<String>, shadowed: &[Option<String>]| {
        let named = |source: &Option<String>| source.clone().unwrap_or_else(|| "default".to_owned());
        pb::EffectiveThreshold {
            key: key.to_owned(),
            value,
            source: named(source),
            shadowed: shadowed.iter().map(named).collect(),
        }
    };
    let bounds = effective.bounds.iter().map(|(b, v)| row(b.name(), v.value, &v.source, &v.shadowed));
    let (failure, near) = (&effective.failure_signal, &effective.near_permille);
    let failure = row(FAILURE_SIGNAL, i64::from(failure.value), &failure.source, &failure.shadowed);
    let key = runspine_controls_domain::threshold::NEAR_PERMILLE;
    let near = row(key, i64::from(near.value), &near.source, &near.shadowed);
    bounds.chain([failure, near]).collect()
}

impl Ask {
    /// What the attempt has used.
    pub(super) fn used(&self) -> Used {
        Used { repeats: i64::from(self.repeats), ..used(&self.totals.unwrap_or_default()) }
    }
}

impl App {
    /// Notes the incident of a breach.
    ///
    /// # Errors
    /// `BREACH_NOT_FOUND`, `IDEMPOTENCY_MISMATCH`.
    pub async fn link_breach(
        &self,
        tenant: String,
        breach_id: String,
        incident_id: String,
    ) -> Result<pb::LinkBreachIncidentResponse, Fault> {
        let now = self.clock.now();
        self.db.write("link_breach", move |tx| Box::pin(link(tx, tenant, breach_id, incident_id, now))).await
    }
}

async fn link(
    tx: &mut Tx,
    tenant: String,
    breach_id: String,
    incident_id: String,
    now: Micros,
) -> Result<pb::LinkBreachIncidentResponse, Fault> {
    match signals::link(tx, &tenant, &breach_id, &incident_id, now).await? {
        None => Err(Fault::new(&reasons::BREACH_NOT_FOUND, "no such breach").with("breach_id", breach_id)),
        Some(first) if first != incident_id => {
            let text = "the breach has another incident";
            Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text).with("incident_id", first))
        }
        Some(incident_id) => Ok(pb::LinkBreachIncidentResponse { breach_id, incident_id }),
    }
}
