//! Generated histories through the RPCs: after each the entries explain every number.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_controls::worker::sweep_once;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, daily, insist, settled, step},
};

/// A small generator of numbers: the same seed gives the same history on every machine.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn cost(&mut self) -> i64 {
        i64::try_from(self.roll(150)).unwrap()
    }
}

async fn limits(house: &House) {
    let overdraft = pb::LimitSpec { overage: 3, overdraft_limit: 80, ..daily("overdraft", 600) };
    let strict = pb::LimitSpec { overage: 1, period: 1, rollover: true, ..daily("hourly", 500) };
    let steps = pb::LimitSpec {
        unit: pb::LimitUnit::Steps as i32,
        scope: 10,
        period: 5,
        ambiguous_charge: 2,
        ..daily("steps", 12)
    };
    let agent = pb::LimitSpec { scope: 4, scope_id: "*".into(), ambiguous_charge: 2, ..daily("agent", 700) };
    for (number, spec) in (1..).zip([overdraft, strict, steps, agent]) {
        house.create(number, spec).await;
    }
}

/// One round: several things at once, some of them twice, some of them for runs that have ended.
async fn round(house: &House, dice: &mut Dice, next: &mut u32) {
    let mut steps = Vec::new();
    for _ in 0..=dice.roll(4) {
        let message = step(dice.roll(4), *next, dice.cost());
        *next += 1;
        steps.push(message.clone());
        if dice.roll(4) == 0 {
            steps.push(message);
        }
    }
    join_all(steps.iter().map(|s| insist(|| house.step(s.clone())))).await;
    let settles: Vec<pb::SettleRequest> = (0..dice.roll(5))
        .map(|_| {
            let index = u32::try_from(dice.roll(u64::from(*next))).unwrap();
            let outcome = if dice.roll(5) == 0 { 5 } else { 1 };
            pb::SettleRequest { outcome, ..settled(dice.roll(4), index, dice.cost()) }
        })
        .collect();
    // A step of another run, or one settled before with other amounts, is refused: that is part of the history.
    join_all(settles.iter().map(|s| house.settle(s.clone()))).await;
    let number = dice.roll(4);
    // Of a step that has no hold any more it is refused: that is part of the history too.
    let place = pb::HoldRef {
        run_id: run(number),
        attempt: 1,
        step_index: Some(u32::try_from(dice.roll(u64::from(*next))).unwrap()),
        ..pb::HoldRef::default()
    };
    match dice.roll(12) {
        8 => adjust(house, dice).await,
        9 => {
            let extra = Some(crate::harness::cost(dice.cost()));
            let message = pb::ExtendRequest { hold: Some(place), ask: 1, extra };
            let _ = call!(house, budgets.extend, "BudgetService/Extend", message);
        }
        10 => {
            let message = pb::ReleaseRequest { hold: Some(place), reason: 1 };
            let _ = call!(house, budgets.release, "BudgetService/Release", message);
        }
        11 => cut_off(house, dice, next).await,
        0 => {
            insist(|| house.settle_run(number, 1)).await;
            restart(house, dice, number).await;
        }
        1 => house.clock.advance(Duration::from_secs(36)),
        2 => house.clock.advance(Duration::from_secs(3_600)),
        3 => {
            sweep_once(&house.app).await.unwrap();
        }
        _ => renew(house, number).await,
    }
}

/// L of an envelope goes up or down.
async fn adjust(house: &House, dice: &mut Dice) {
    let message = pb::ListEnvelopesRequest::default();
    let list =
        call!(house, budgets.list_envelopes, "BudgetService/ListEnvelopes", message).unwrap().envelopes;
    let envelope = &list[usize::try_from(dice.roll(list.len() as u64)).unwrap()];
    let amount = dice.cost() - 75;
    let message = pb::AdjustEnvelopeRequest {
        request_id: runspine_types::new_id(),
        envelope_id: envelope.envelope_id.clone(),
        amount: if amount == 0 { 1 } else { amount },
        reason: "the dice said so".into(),
    };
    insist(|| async {
        call!(house, budgets.adjust_envelope, "BudgetService/AdjustEnvelope", message.clone())
    })
    .await;
}

/// Callers that die with their questions: their answers are lost, and what was done is found by asking again.
async fn cut_off(house: &House, dice: &mut Dice, next: &mut u32) {
    let messages: Vec<_> = (0..3).map(|n| step(dice.roll(4), *next + n, dice.cost())).collect();
    *next += 3;
    let lost = join_all(messages.iter().map(|s| house.step(s.clone())));
    let polls = dice.roll(4);
    tokio::select! {
        biased;
        () = async { for _ in 0..polls { tokio::task::yield_now().await; } } => {}
        _ = lost => {}
    }
    let answers = join_all(messages.iter().map(|s| insist(|| house.step(s.clone())))).await;
    let again = join_all(messages.iter().map(|s| insist(|| house.step(s.clone())))).await;
    assert_eq!(answers, again);
}

/// A run that was settled is over; another one takes its place in the dice's hand only by a new attempt, so it is
/// renewed instead, which changes nothing.
async fn restart(house: &House, dice: &mut Dice, number: u64) {
    if dice.roll(2) == 0 {
        renew(house, number).await;
    }
}

async fn renew(house: &House, number: u64) {
    let message = pb::RenewRunLeaseRequest {
        run_id: run(number),
        attempt: 1,
        fence: 1,
        expires_at: Some(timestamp(house.in_ms(30_000))),
        freeze_epoch_seen: 0,
    };
    let again = || async {
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message.clone())
    };
    insist(again).await;
}

async fn check(house: &House) {
    let message = pb::ListEnvelopesRequest { page_size: 500, ..pb::ListEnvelopesRequest::default() };
    let list = call!(house, budgets.list_envelopes, "BudgetService/ListEnvelopes", message).unwrap();
    for envelope in list.envelopes {
        let verified = house.verify(&envelope.envelope_id).await;
        assert_eq!(verified.differences, [], "{envelope:?}");
    }
    let bad = "SELECT COUNT(*) FROM allocations WHERE held < 0 OR spent < 0 OR held + spent > granted";
    assert_eq!(house.one::<(i64,)>(bad).await.0, 0, "escrow covers");
    let bad = "SELECT COUNT(*) FROM allocations a WHERE held <> (SELECT COALESCE(SUM(n.amount), 0) FROM hold_lines n \
               JOIN holds h ON h.hold_id = n.hold_id WHERE h.state = 1 AND h.run_key = a.run_key AND n.envelope_key = a.envelope_key \
               AND n.period_start = a.period_start)";
    assert_eq!(house.one::<(i64,)>(bad).await.0, 0, "held is the sum of the active lines");
    let bad = "SELECT COUNT(*) FROM envelope_periods p WHERE granted <> (SELECT COALESCE(SUM(a.granted), 0) \
               FROM allocations a WHERE a.envelope_key = p.envelope_key AND a.period_start = p.period_start AND a.open = 1)";
    assert_eq!(house.one::<(i64,)>(bad).await.0, 0, "granted is the sum of the open allocations");
    let bad = "SELECT COUNT(*) FROM (SELECT run_key FROM budget_entries WHERE kind IN (5, 6) AND step_index IS NOT NULL \
               GROUP BY run_key, step_index, envelope_key, funding HAVING COUNT(*) > 1) AS twice";
    assert_eq!(house.one::<(i64,)>(bad).await.0, 0, "a step is charged once");
}

on_both_engines! {
    /// Whatever happens in whatever order, nothing is lost, held for ever, or charged twice.
    async fn histories_keep_the_invariants(store: TestStore) {
        history(store, 0x5eed_1234_5678_9abc).await;
    }

    /// The same from elsewhere.
    async fn other_histories_keep_them(store: TestStore) {
        history(store, 0x0dd5_eed0_0000_0002).await;
    }

    /// And once more.
    async fn yet_other_histories_keep_them(store: TestStore) {
        history(store, 0x7a3b_91c4_0d2e_5f68).await;
    }
}

/// One generated history.
async fn history(store: TestStore, seed: u64) {
    let house = House::over(store).await;
    limits(&house).await;
    let mut dice = Dice(seed);
    for number in 0..4 {
        house.admit(number).await.unwrap();
    }
    let mut next = 0;
    for count in 0..120 {
        round(&house, &mut dice, &mut next).await;
        if count % 20 == 0 {
            check(&house).await;
        }
    }
    house.clock.advance(Duration::from_secs(40));
    sweep_once(&house.app).await.unwrap();
    check(&house).await;
    let left = "SELECT (SELECT COUNT(*) FROM holds WHERE state = 1) + (SELECT COUNT(*) FROM allocations WHERE open = 1)";
    assert_eq!(house.one::<(i64,)>(left).await.0, 0, "no leak");
}
