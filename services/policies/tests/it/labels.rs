//! A8.1 for labels: what a run is denied for what it did before is what its whole trace says, in whichever process.

use contracts_common::common::v1::{Amounts, StepOutcome};
use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines};

use crate::{
    harness::{House, ask_step},
    recount::chance,
    sequences::{body, ended, on},
};

const TRACES: u64 = 16;
const STEPS: u32 = 10;
const ALLOW: i32 = 1;
const DENY: i32 = 2;

on_both_engines! {
    /// Labels come with every reading that was allowed or happened, and with nothing else; they never go.
    async fn labels_agree_with_whole_traces(store: TestStore) {
        let house = House::over(store).await;
        let marks = pb::SequenceBody {
            trigger: on("send"), labels: vec!["pii".into()], ..body(pb::SequenceKind::Taint, "read", "")
        };
        house.sequence(1, "marks", marks).await;
        let dear = "forbid(principal, action == Runspine::Action::\"tool_call\", resource) \
                    when { context.estimate.cost_microusd > 100 };";
        house.rule(2, "dear", "", dear).await;
        let (mut denied, mut allowed) = (0, 0);
        for number in 1..=TRACES {
            house.start(number).await;
            let replica = house.replica().await;
            let (mut tainted, mut seq) = (false, 0);
            for step in 0..STEPS {
                let draw = chance(number * 1_009 + u64::from(step), 60);
                let side = if draw.is_multiple_of(2) { &house } else { &replica };
                match draw % 10 {
                    0 => {
                        assert_eq!(side.verdict(number, step, "read", (seq, vec![])).await, ALLOW);
                        tainted = true;
                    }
                    1 | 2 => {
                        let estimate = Some(Amounts { cost_microusd: 200, ..Default::default() });
                        let ask = pb::EvaluateStepRequest { estimate, from_seq: seq, ..ask_step(number, step, "read") };
                        assert_eq!(side.step(ask).await.unwrap().decision.unwrap().verdict, DENY);
                    }
                    3 => {
                        let outcome = if draw < 30 { StepOutcome::Success } else { StepOutcome::Ambiguous };
                        let wild = vec![ended(seq, 100 + step, "read", outcome)];
                        assert_eq!(side.verdict(number, step, "look", (seq, wild)).await, ALLOW);
                        (tainted, seq) = (true, seq + 1);
                    }
                    4 => {
                        let other = vec![ended(seq, 100 + step, "look", StepOutcome::Success)];
                        assert_eq!(side.verdict(number, step, "look", (seq, other)).await, ALLOW);
                        seq += 1;
                    }
                    _ => {
                        let expected = if tainted { DENY } else { ALLOW };
                        assert_eq!(side.verdict(number, step, "send", (seq, vec![])).await, expected, "{number} {step}");
                        (denied, allowed) = (denied + u32::from(tainted), allowed + u32::from(!tainted));
                    }
                }
            }
        }
        assert!(denied > 10 && allowed > 10, "{denied} {allowed}");
    }
}
