//! A start that waits is decided anew: when somebody comes for one that was put off, or when a person approved it.

use contracts_activity::v1::AuthorizationDecision;
use contracts_common::common::v1::RunEvent;
use contracts_logs::v1::GetReceiptRequest;
use contracts_policies::v1::EvaluateRunRequest;
use contracts_spine::v1::RunCharter;
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::new_id;

use super::StartDecision;
use crate::{
    kernel::{Kernel, LedgerNote, combine::combine, state::Attempt, step_check, undecided},
    reasons,
};

/// What a start that was put off came to.
pub(crate) enum Anew {
    /// It may be claimed.
    Authorized,
    /// It waits on: for so many milliseconds, or, 0, for a person.
    Waits(u64),
    /// It was refused and ends.
    Refused,
}

impl Kernel {
    /// From when on a start that was put off is decided anew.
    pub(super) fn put_off_until(&self, decided: &StartDecision) -> Option<prost_types::Timestamp> {
        let wait = i64::try_from(decided.combined.retry_after_ms).unwrap_or(i64::MAX);
        decided.is_put_off().then(|| timestamp(self.now().plus_millis(wait)))
    }

    /// A start that was put off is decided anew, and moved to where that leads.
    pub(crate) async fn decide_anew(&self, context: &Context, attempt: &Attempt) -> Outcome<Anew> {
        let charter = self.stored_charter(context, attempt).await?;
        let ask = self.next_start_ask(context, &charter).await?;
        let decided = self.ask_again(context, attempt, &charter, ask, "").await?;
        if decided.is_put_off() {
            return Ok(Anew::Waits(decided.combined.retry_after_ms));
        }
        if decided.waits_for_approval() {
            Box::pin(self.hold(context, &charter, &decided)).await?;
            return Ok(Anew::Waits(0));
        }
        if !decided.combined.permits() {
            self.deny(context, &charter, &decided).await?;
            return Ok(Anew::Refused);
        }
        self.authorize_start(context, &charter, attempt.state.sequence, &decided).await?;
        let said = LedgerNote {
            event: "spine.RunStarted",
            run_id: &charter.run_id,
            attempt: charter.attempt,
            key: &decided.decision_id,
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await?;
        Ok(Anew::Authorized)
    }

    /// The rules are asked again about a start; limits are asked when its lease is taken. Who repeats an `ask` gets its
    /// first answer.
    pub(super) async fn ask_again(
        &self,
        context: &Context,
        attempt: &Attempt,
        charter: &RunCharter,
        ask: u32,
        approval_id: &str,
    ) -> Outcome<StartDecision> {
        let (now, profile) = (self.now(), attempt.profile());
        let evaluate = EvaluateRunRequest {
            ask,
            approval_id: approval_id.to_owned(),
            profile: profile.into(),
            ..self.start_question(charter, &attempt.attributes, &new_id(), now)
        };
        let evaluated = self.bridges.policies.evaluate_run(context, evaluate).await;
        let evaluated = evaluated.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let decision = evaluated.decision.clone().unwrap_or_default();
        let freeze = self.freeze_finding(Self::subject(context, attempt), profile);
        let findings = [freeze, step_check::policy_finding(&decision)];
        undecided::count(&findings);
        let combined = combine(&findings, profile);
        let decided = StartDecision { combined, evaluated, decision_id: decision.decision_id };
        self.append_start(context, charter, &decided, ask).await?;
        Ok(decided)
    }

    /// CREATED → AUTHORIZED.
    pub(super) async fn authorize_start(
        &self,
        context: &Context,
        charter: &RunCharter,
        sequence: u64,
        decided: &StartDecision,
    ) -> Outcome<()> {
        let mut request = self.transition(charter, sequence, RunEvent::Authorize, &decided.decision_id);
        request.authorization = Some(self.authorization(decided, AuthorizationDecision::Granted));
        request.degraded = decided.combined.degraded;
        self.moved(context, request).await.map(|_| ())
    }

    /// How often this start was asked about: each decision on it is a record of its trace. The rules put a question off
    /// ten times at most.
    async fn next_start_ask(&self, context: &Context, charter: &RunCharter) -> Outcome<u32> {
        for ask in 1.. {
            let get = GetReceiptRequest {
                run_id: charter.run_id.clone(),
                attempt: charter.attempt,
                idempotency_key: super::trace::start_key(ask),
            };
            match self.bridges.records.receipt(context, get).await {
                Ok(_) => {}
                Err(miss) if miss.is_not_found() => return Ok(ask),
                Err(miss) => return Err(miss.into_fault(&reasons::DECISION_UNAVAILABLE)),
            }
        }
        Ok(u32::MAX)
    }
}
