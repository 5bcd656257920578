//! Envelopes are adjusted by one person or two, suspended and resumed.

use contracts_controls::v1 as pb;
use runspine_controls_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, tenant, test_id};

use crate::{
    call,
    harness::{House, daily, inner, refused, settled, step, verdict},
};

impl House {
    pub async fn adjust(&self, number: u64, envelope_id: &str, amount: i64) -> pb::AdjustEnvelopeResponse {
        let message = pb::AdjustEnvelopeRequest {
            request_id: test_id(7, number),
            envelope_id: envelope_id.to_owned(),
            amount,
            reason: "the campaign goes on".into(),
        };
        let first =
            call!(self, budgets.adjust_envelope, "BudgetService/AdjustEnvelope", message.clone()).unwrap();
        let again = call!(self, budgets.adjust_envelope, "BudgetService/AdjustEnvelope", message).unwrap();
        assert_eq!(again, first);
        first
    }

    pub async fn approve(
        &self,
        number: u64,
        actor: &str,
        adjustment_id: &str,
    ) -> Result<pb::ApproveAdjustmentResponse, tonic::Status> {
        let message = pb::ApproveAdjustmentRequest {
            request_id: test_id(7, number),
            adjustment_id: adjustment_id.to_owned(),
        };
        let request = self.ask_as(&tenant(1), actor, "BudgetService/ApproveAdjustment", message);
        inner(self.budgets.clone().approve_adjustment(request).await)
    }
}

on_both_engines! {
    /// 90 days after its limit was disabled an envelope is read only: nobody adjusts, suspends or resumes it any more.
    async fn an_archived_envelope_is_read_only(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        let id = house.envelope(&limit.limit_id).await.envelope_id;
        let wish = house.adjust(2, &id, 500).await.adjustment.unwrap();
        let disable = pb::DisableLimitRequest {
            request_id: test_id(7, 3), limit_id: limit.limit_id.clone(), expected_version: 1, reason: "it is not needed".into(),
        };
        call!(house, limits.disable_limit, "LimitService/DisableLimit", disable).unwrap();
        let adjust = |number| pb::AdjustEnvelopeRequest {
            request_id: test_id(7, number), envelope_id: id.clone(), amount: 1, reason: "the campaign goes on".into(),
        };
        house.clock.advance(std::time::Duration::from_secs(90 * 86_400 - 1));
        call!(house, budgets.adjust_envelope, "BudgetService/AdjustEnvelope", adjust(4)).unwrap();
        house.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(house.envelope(&limit.limit_id).await.state(), pb::EnvelopeState::Archived);
        let archived = &reasons::BUDGET_ARCHIVED;
        refused(call!(house, budgets.adjust_envelope, "BudgetService/AdjustEnvelope", adjust(5)), archived);
        refused(house.approve(6, "lee", &wish.adjustment_id).await, &reasons::SECOND_PERSON_REQUIRED);
        let suspend = pb::SuspendEnvelopeRequest {
            request_id: test_id(7, 7), envelope_id: id.clone(), reason: "it is looked into".into(),
        };
        refused(call!(house, budgets.suspend_envelope, "BudgetService/SuspendEnvelope", suspend), archived);
        let resume = pb::ResumeEnvelopeRequest {
            request_id: test_id(7, 8), envelope_id: id.clone(), reason: "it is looked into".into(),
        };
        refused(call!(house, budgets.resume_envelope, "BudgetService/ResumeEnvelope", resume), archived);
        assert!(house.verify(&id).await.equal, "it can still be read");
    }

    /// Up to 20 % of the limit one person adjusts, above it a second one has to approve within 24 hours, and the entries
    /// explain every number.
    async fn small_adjustments_by_one_large_ones_by_two(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        let id = house.envelope(&limit.limit_id).await.envelope_id;
        let small = house.adjust(2, &id, 200).await;
        assert_eq!(small.adjustment.unwrap().state, pb::AdjustmentState::Applied as i32);
        assert_eq!(small.envelope.unwrap().period.unwrap().limit_value, 1_200);
        let large = house.adjust(3, &id, -201).await;
        let wish = large.adjustment.unwrap();
        assert_eq!((wish.state, large.envelope.unwrap().period.unwrap().limit_value), (1, 1_200));
        refused(house.approve(4, "kim", &wish.adjustment_id).await, &reasons::SELF_APPROVAL);
        let done = house.approve(5, "lee", &wish.adjustment_id).await.unwrap();
        assert_eq!(house.approve(5, "lee", &wish.adjustment_id).await.unwrap(), done, "a repeat changes nothing");
        assert_eq!(done.envelope.unwrap().period.unwrap().limit_value, 999);
        refused(house.approve(6, "ann", &wish.adjustment_id).await, &reasons::SECOND_PERSON_REQUIRED);
        let late = house.adjust(7, &id, 500).await.adjustment.unwrap();
        house.clock.advance(std::time::Duration::from_secs(86_400));
        refused(house.approve(8, "lee", &late.adjustment_id).await, &reasons::SECOND_PERSON_REQUIRED);
        refused(house.approve(9, "lee", &test_id(9, 9)).await, &reasons::ENVELOPE_NOT_FOUND);
        let message = pb::ListBudgetEntriesRequest { kinds: vec![8], ..Default::default() };
        let page = call!(house, budgets.list_budget_entries, "BudgetService/ListBudgetEntries", message).unwrap();
        let entries: Vec<(i64, &str)> = page.entries.iter().map(|e| (e.amount, e.actor_id.as_str())).collect();
        assert_eq!(entries, [(200, "kim"), (-201, "lee")]);
        assert!(house.verify(&id).await.equal);
        assert_eq!(house.kinds().await.iter().filter(|k| *k == "EnvelopeAdjusted").count(), 4);
    }

    /// What an adjustment makes available pays debt first.
    async fn an_adjustment_pays_debt(store: TestStore) {
        let house = House::over(store).await;
        let spec = pb::LimitSpec { overage: 3, overdraft_limit: 50, ..daily("day", 100) };
        let limit = house.create(1, spec).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 90)).await.unwrap();
        house.settle(settled(1, 0, 130)).await.unwrap();
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!(envelope.period.unwrap().debt, 30);
        let after = house.adjust(2, &envelope.envelope_id, 20).await.envelope.unwrap().period.unwrap();
        assert_eq!((after.debt, after.available), (10, 0));
        assert!(house.verify(&envelope.envelope_id).await.equal);
    }

    /// A suspended envelope refuses reserves and settles what is held; resumed it gives again.
    async fn a_suspended_envelope_gives_nothing(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 10)).await.unwrap();
        let envelope_id = house.envelope(&limit.limit_id).await.envelope_id;
        let message = pb::SuspendEnvelopeRequest {
            request_id: test_id(7, 2), envelope_id: envelope_id.clone(), reason: "somebody looks into it".into(),
        };
        for _ in 0..2 {
            let done = call!(house, budgets.suspend_envelope, "BudgetService/SuspendEnvelope", message.clone()).unwrap();
            assert_eq!(done.envelope.unwrap().state, pb::EnvelopeState::Suspended as i32);
        }
        assert_eq!(house.envelope(&limit.limit_id).await.state, pb::EnvelopeState::Suspended as i32);
        let answer = house.step(step(1, 1, 10)).await.unwrap();
        assert_eq!(verdict(answer.admission.as_ref()), (2, 1, vec!["BUDGET_SUSPENDED".to_owned()]));
        assert_eq!(house.settle(settled(1, 0, 12)).await.unwrap().lines[0].funded, 12);
        let message = pb::ResumeEnvelopeRequest {
            request_id: test_id(7, 3), envelope_id, reason: "it was looked into".into(),
        };
        call!(house, budgets.resume_envelope, "BudgetService/ResumeEnvelope", message).unwrap();
        assert!(house.step(step(1, 2, 10)).await.unwrap().hold.is_some());
        let kinds = house.kinds().await;
        let orders: Vec<&String> = kinds.iter().filter(|k| k.ends_with("ended") || k.ends_with("Resumed")).collect();
        assert_eq!(orders, ["EnvelopeSuspended", "EnvelopeResumed"]);
        let unknown = pb::SuspendEnvelopeRequest {
            request_id: test_id(7, 4), envelope_id: test_id(9, 9), reason: "somebody looks into it".into(),
        };
        let unknown = call!(house, budgets.suspend_envelope, "BudgetService/SuspendEnvelope", unknown);
        refused(unknown, &reasons::ENVELOPE_NOT_FOUND);
    }

    /// A new period is told with what the last one left.
    async fn a_new_period_is_told(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, pb::LimitSpec { rollover: true, ..daily("day", 1_000) }).await;
        house.clock.advance(std::time::Duration::from_secs(86_400));
        house.admit(1).await.unwrap();
        let events = house.published().await;
        let rolled = events.iter().find(|e| e.r#type == "controls.EnvelopeRolled").unwrap();
        let data: pb::EnvelopeRolled = prost::Message::decode(rolled.data.clone()).unwrap();
        assert_eq!((data.rollover_in, data.debt_in), (200, 0));
    }
}
