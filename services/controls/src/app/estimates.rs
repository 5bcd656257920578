//! What a step may use where its caller does not say: what steps like it have used, else the default of its kind.

use std::collections::BTreeSet;

use runspine_controls_domain::{
    estimate::{Amounts, fill},
    history::StepName,
    limit::Key,
    words::{EstimateSource, StepKind},
};
use runspine_db::DbError;
use runspine_errors::Fault;

use super::{
    App,
    accounts::{Ask, Call},
};
use crate::{
    store::{desk::Desk, histories},
    words::amounts_from,
};

/// Names that are written in one transaction.
const WRITTEN: usize = 500;

/// What a step that is settled was: its kind and resource.
pub type Did = (StepKind, String);

impl Ask {
    /// Which steps it is like. None: it says all itself, or there are no steps like it.
    fn step_name(&self, agent_id: &str) -> Option<StepName> {
        let stated = amounts_from(self.amounts.as_ref(), 1);
        let Amounts { cost_microusd, tokens_input, tokens_output, duration_ms, .. } = stated;
        let missing = [cost_microusd, tokens_input, tokens_output, duration_ms].contains(&0);
        let alike = self.full && self.step.is_some() && missing && !agent_id.is_empty();
        alike.then(|| StepName {
            tenant_id: self.run.tenant_id.clone(),
            agent_id: agent_id.to_owned(),
            kind: self.kind,
            resource: self.resource.clone(),
        })
    }
}

impl Desk<'_> {
    /// What a question asks for with what is missing filled in, and how certain that is.
    pub(super) fn filled(&self, ask: &Ask, agent_id: &str) -> (Amounts, EstimateSource) {
        let stated = amounts_from(ask.amounts.as_ref(), 0);
        let usual = ask.step_name(agent_id).and_then(|name| self.usual.get(&name));
        let (amounts, source) = fill(stated, ask.kind, usual);
        (amounts, source.max(ask.source))
    }

    /// Loads what steps like those that are asked about have used.
    pub(super) async fn prepare_estimates(&mut self, calls: &[Call]) -> Result<(), DbError> {
        let mut names = BTreeSet::new();
        for call in calls {
            let Call::Ask(ask) = call else { continue };
            if ask.step.is_none() {
                continue;
            }
            let Some(lease) = self.run(&ask.run) else { continue };
            names.extend(ask.step_name(&lease.tuple()?.agent_id));
        }
        self.load_usual(names).await
    }

    /// Notes what a step really used, for the estimates of those like it.
    pub(super) fn learn(&mut self, run: Key, did: &Did, used: &Amounts) -> Result<(), DbError> {
        let Some(lease) = self.run_by_key(run) else { return Ok(()) };
        let agent_id = lease.tuple()?.agent_id;
        if !agent_id.is_empty() {
            let (tenant_id, (kind, resource)) = (lease.tenant_id.clone(), did.clone());
            self.learned.push((StepName { tenant_id, agent_id, kind, resource }, *used));
        }
        Ok(())
    }
}

impl App {
    /// Writes what was learned of steps since the last time, and says of how many names.
    ///
    /// # Errors
    /// When the store fails: it is written the next time.
    pub async fn write_histories(&self) -> Result<usize, Fault> {
        let now = self.clock.now();
        let mut all = 0;
        loop {
            let fresh = self.histories.fresh(WRITTEN);
            let names = fresh.len();
            if names == 0 {
                return Ok(all);
            }
            let write = self.db.write("step_histories", move |tx| {
                Box::pin(async move { Ok::<_, Fault>(histories::write(tx, fresh, now).await?) })
            });
            self.histories.written(write.await?);
            all += names;
        }
    }
}
