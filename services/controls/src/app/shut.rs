//! Circuit breakers: the third check of an admission.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    admission::{Effect, Finding, under},
    breaker::{BreakerState, BreakerTarget, Passage},
    finding::{ShutBreaker, breaker_finding},
};
use runspine_errors::Fault;

use super::{admit::Case, breakers::grant, gates::Takings};
use crate::{
    store::{breakers::BreakerRow, desk::Desk},
    words::stored,
};

impl Case<'_> {
    /// Under which name a step tries out what is behind a breaker.
    fn probe_holder(&self) -> String {
        let run = &self.ask.run;
        format!("{}/{}/{}", run.run_id, run.attempt, self.ask.step.unwrap_or_default())
    }
}

impl Desk<'_> {
    /// Looks at the breakers of what would be used; no trial is granted yet. A run may start while one is tried out: its
    /// steps are asked again.
    pub(super) fn pass_breakers(
        &self,
        case: &Case<'_>,
        findings: &mut Vec<(Finding, Effect)>,
        takings: &mut Takings,
    ) -> Result<(), Fault> {
        let holder = case.probe_holder();
        for row in self.breakers.values().filter(|row| row.is_met_by(&case.scope)) {
            let breaker = row.subject()?;
            if case.ask.step.is_none() && breaker.state(case.now) == BreakerState::HalfOpen {
                continue;
            }
            match breaker.passage(&holder, case.now) {
                Passage::Free => {}
                Passage::Probe => {
                    takings.probes.push(row.breaker_key);
                    takings.breakers.push(pb::BreakerMet { probe: true, ..met(row) });
                }
                Passage::Shut(retry_after_ms) => {
                    let shut = ShutBreaker {
                        id: row.breaker_id.clone(),
                        target: stored(BreakerTarget::from_code(row.target_type))?,
                        target_id: row.target_id.clone(),
                        cause: breaker.cause,
                        fallback_model: row.fallback_model.clone(),
                        retry_after_ms,
                    };
                    takings.breakers.push(pb::BreakerMet { retry_after_ms, ..met(row) });
                    findings.push((breaker_finding(&shut), under(case.ask.profile, shut.verdict())));
                }
            }
        }
        Ok(())
    }

    /// Takes the trials that were found free.
    pub(super) async fn take_probes(&mut self, case: &Case<'_>, takings: &Takings) -> Result<(), Fault> {
        for key in &takings.probes {
            let Some(row) = self.breakers.get_mut(key) else { continue };
            grant(self.tx, &case.ask.caller, row, &case.probe_holder(), case.now).await?;
        }
        Ok(())
    }
}

fn met(row: &BreakerRow) -> pb::BreakerMet {
    pb::BreakerMet {
        breaker_id: row.breaker_id.clone(),
        target_type: row.target_type,
        target_id: row.target_id.clone(),
        cause: row.cause,
        fallback_model: row.fallback_model.clone(),
        ..pb::BreakerMet::default()
    }
}
