//! Where runs stand with their limits: kept on the desk, and told with the commit that makes it worse.

use std::collections::BTreeMap;

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    evaluation::{Compared, Told, blocks, type_of},
    limit::Key,
};
use runspine_db::DbError;
use runspine_types::Micros;

use super::{desk::Desk, envelopes::Applicable, events::publish, rows::unreadable};
use crate::app::records::Caller;

/// What was compared, and when.
#[derive(Debug, Clone, Copy)]
pub struct Evaluated {
    compared: Compared,
    step: Option<u32>,
    at: Micros,
}

impl Desk<'_> {
    /// Notes how a run stands with the limit of an envelope: the last of a transaction counts.
    pub(crate) fn evaluated(
        &mut self,
        run: Key,
        envelope: Key,
        compared: Compared,
        step: Option<u32>,
        at: Micros,
    ) {
        self.evaluations.insert((run, envelope), Evaluated { compared, step, at });
    }

    /// Tells of each run what is worse than what was told of it before; of one that ends, everything. A run that stands
    /// as it stood costs nothing here.
    pub(super) fn tell_evaluations(&mut self) -> Result<(), DbError> {
        let mut by_run: BTreeMap<Key, Vec<(Key, Evaluated)>> = BTreeMap::new();
        for ((run, envelope), evaluated) in std::mem::take(&mut self.evaluations) {
            by_run.entry(run).or_default().push((envelope, evaluated));
        }
        for (run, all) in by_run {
            let Some(lease) = self.run_by_key(run) else { continue };
            let text = lease.told.clone();
            let mut told = Told::from_text(&text).ok_or_else(|| unreadable("run_leases.told"))?;
            let ends = self.ended_runs.contains(&run);
            let mut worse = Vec::new();
            for (envelope, evaluated) in all {
                let Some(found) = self.envelope(envelope) else { continue };
                let outcome = evaluated.compared.outcome(found.0.spec.warn_permille);
                if told.rises(envelope, outcome) || ends {
                    worse.push((found, evaluated));
                }
            }
            if told.to_text() != text {
                self.change_run(run, |row| row.told = told.to_text());
            }
            self.publish_evaluated(run, &worse, ends);
        }
        Ok(())
    }

    fn publish_evaluated(&mut self, run: Key, worse: &[(Applicable, Evaluated)], ends: bool) {
        let Some((_, last)) = worse.last() else { return };
        let tenant = self.run_by_key(run).map(|r| r.tenant_id.clone()).unwrap_or_default();
        let mut about = self.about_run(run, "run", String::new());
        about.entity_id.clone_from(&about.run_id);
        about.step_index = last.step;
        let at = last.at;
        let data = pb::LimitEvaluated {
            evaluations: worse.iter().map(evaluation_to).collect(),
            control_set_digest: self.set(&tenant).digest.to_vec().into(),
            r#final: ends,
        };
        publish(self.tx, &Caller::mesh(&tenant), "LimitEvaluated", about, &data, at);
    }
}

fn evaluation_to(((limit, row), evaluated): &(Applicable, Evaluated)) -> pb::LimitEvaluation {
    let (spec, compared) = (&limit.spec, evaluated.compared);
    pb::LimitEvaluation {
        limit_id: limit.id.clone(),
        limit_name: spec.name.clone(),
        limit_version: limit.version,
        r#type: type_of(spec.category, spec.unit).code(),
        scope: spec.scope.code(),
        scope_id: row.scope_id.clone(),
        threshold_value: compared.value,
        unit: spec.unit.code(),
        source: limit.source.code(),
        blocking: blocks(limit),
        actual: compared.actual,
        outcome: compared.outcome(spec.warn_permille).code(),
        proximity_permille: compared.proximity(),
    }
}
