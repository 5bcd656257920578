//! Where a check can't be made the profile decides: STRICT denies, the others allow without a hold and charge the step
//! late. Freezes and the lease hold all the same, and so do the thresholds that the run's last step was compared with.

use std::{error::Error as _, sync::Arc};

use bytes::Bytes;
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    admission::{Effect, Finding, Phase, combine, effect, failed, threshold_finding},
    limit::Limit,
    threshold::passed,
};
use runspine_errors::{Fault, mesh};
use runspine_types::Micros;

use super::{
    App,
    accounts::{Ask, Call, Out},
    admit::{Begun, Case, Decided},
    gates::Takings,
};
use crate::store::desk::Desk;

impl App {
    /// Answers a question about a run or a step: from its checks, or by its profile where they can't be made. What a
    /// failed check had begun is undone first.
    ///
    /// # Errors
    /// When the question is wrong, or the store can't be reached: then there is no answer at all.
    pub async fn ask(&self, ask: Ask) -> Result<Out, Fault> {
        let ask = Arc::new(ask);
        match self.accounts.submit(Call::Ask(Arc::clone(&ask))).await {
            Err(fault) if fault.is(&mesh::INTERNAL) => {
                let run_id = &ask.run.run_id;
                tracing::error!(%fault, cause = fault.source(), run_id, "a check could not be made");
                self.accounts.submit(Call::Undecided(ask)).await
            }
            answer => answer,
        }
    }
}

impl Desk<'_> {
    /// Answers a question whose checks could not be made, with its evidence.
    pub(super) async fn answer_undecided(&mut self, ask: &Ask, now: Micros) -> Result<Out, Fault> {
        let now = ask.now.unwrap_or(now);
        self.at = now;
        let (key, mut lease) = match self.begin(ask)? {
            Begun::Answered(out) => return Ok(out),
            Begun::New(key, lease) => (key, lease),
        };
        if let Some(tuple) = &ask.scope {
            lease.scope = Bytes::from(tuple.encode_to_vec());
        } else if lease.run_scope().is_err() {
            // Of whom it is counted under only tenant and run are known.
            lease.scope = Bytes::new();
        }
        let last = match ask.step {
            Some(_) => self.last_thresholds(key.0, &ask.run.tenant_id).await?,
            None => Vec::new(),
        };
        let (scope, _) = ask.counted(&lease)?;
        let mut case = self.case_of(ask, key, lease, (scope, Vec::new()), now)?;
        case.inputs.failed = true;
        case.inputs.thresholds = last.iter().map(read_again).collect();
        let decided = self.decide_undecided(&case, &last);
        if decided.answer.admits() {
            self.let_pass(&case);
        }
        self.report(&case, decided, None)
    }

    fn decide_undecided(&self, case: &Case<'_>, last: &[(Limit, String)]) -> Decided {
        let orders = self.orders(case);
        if !orders.is_empty() {
            return Decided::ordered(orders);
        }
        let mut findings: Vec<(Finding, Effect)> =
            last.iter().flat_map(|(limit, _)| passed_again(case, limit)).collect();
        findings.push(failed(case.ask.profile));
        let (answer, takings) = (combine(findings), Takings::default());
        Decided { answer, lines: None, takings, looked: false, degraded: true }
    }
}

fn read_again((limit, scope_id): &(Limit, String)) -> pb::ThresholdRead {
    pb::ThresholdRead { limit_id: limit.id.clone(), limit_version: limit.version, scope_id: scope_id.clone() }
}

fn passed_again<'a>(
    case: &'a Case<'_>,
    limit: &'a Limit,
) -> impl Iterator<Item = (Finding, Effect)> + use<'a> {
    let effect = effect(limit, Phase::Step, case.ask.profile, case.waited_ms);
    let over = passed(&limit.spec.params, &case.ask.used(), &case.estimate());
    over.into_iter().map(move |over| (threshold_finding(limit, &over, effect.verdict()), effect))
}
