//! Sequence rules: decided from the steps before, whoever asks, and from which process.

use contracts_common::common::v1::StepOutcome;
use contracts_policies::v1::{self as pb, candidate_change::Change};
use runspine_db::args;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, ask_end, ask_run, ask_step, fact, reason},
};

pub fn on(tool: &str) -> String {
    format!("(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\")")
}

pub fn body(kind: pb::SequenceKind, events: &str, window: &str) -> pb::SequenceBody {
    pb::SequenceBody {
        kind: kind.into(),
        events: on(events),
        window: window.into(),
        reason: "IN_ORDER".into(),
        ..Default::default()
    }
}

pub fn count(events: &str, max: i64, window: &str) -> pb::SequenceBody {
    pb::SequenceBody { max, ..body(pb::SequenceKind::CountInWindow, events, window) }
}

fn content(slug: &str, body: pb::SequenceBody) -> pb::RuleContent {
    pb::RuleContent {
        slug: slug.into(),
        mode: pb::RuleMode::Block.into(),
        sequence: Some(body),
        ..Default::default()
    }
}

pub fn ended(seq: u64, step: u32, tool: &str, outcome: StepOutcome) -> pb::StepFact {
    pb::StepFact { outcome: outcome.into(), ..fact(seq, step, tool) }
}

/// Decisions that a candidate makes otherwise.
fn changed(report: &pb::SandboxReport) -> u64 {
    report.matrix.iter().filter(|c| c.recorded != c.candidate).map(|c| c.count).sum()
}

const ALLOW: i32 = 1;
const DENY: i32 = 2;

impl House {
    /// A sequence rule in force.
    pub async fn sequence(&self, n: u64, slug: &str, body: pb::SequenceBody) -> pb::Rule {
        let made = self.create(n, content(slug, body)).await.unwrap();
        assert!(made.findings.is_empty(), "{:?}", made.findings);
        self.activate(n, &made.rule.unwrap()).await.unwrap().rule.unwrap()
    }

    /// The verdict about a step, told with facts from `from_seq` on.
    pub async fn verdict(&self, number: u64, step: u32, tool: &str, told: (u64, Vec<pb::StepFact>)) -> i32 {
        let ask =
            pb::EvaluateStepRequest { from_seq: told.0, observed: told.1, ..ask_step(number, step, tool) };
        self.step(ask).await.unwrap().decision.unwrap().verdict
    }

    async fn asked(&self, number: u64, step: u32, tool: &str) -> i32 {
        self.verdict(number, step, tool, (0, vec![])).await
    }
}

on_both_engines! {
    /// A8.2: one place is left, and many ask for it at once through two processes.
    async fn the_last_place_is_taken_once(store: TestStore) {
        let house = House::over(store).await;
        house.sequence(1, "calls", count("t1", 3, "run")).await;
        house.start(1).await;
        let replica = house.replica().await;
        assert_eq!([house.asked(1, 0, "t1").await, replica.asked(1, 1, "t1").await], [ALLOW, ALLOW]);
        let asks = (2..66_u32).map(|n| if n % 2 == 0 { &house } else { &replica }.asked(1, n, "t1"));
        let verdicts = futures::future::join_all(asks).await;
        assert_eq!(verdicts.iter().filter(|v| **v == ALLOW).count(), 1, "{verdicts:?}");
        assert_eq!(verdicts.iter().filter(|v| **v == DENY).count(), 63);
        assert_eq!(house.asked(1, 70, "t2").await, ALLOW, "another tool is not counted");
        let decision = house.step(ask_step(1, 71, "t1")).await.unwrap().decision.unwrap();
        assert_eq!(decision.reasons[0].code, "IN_ORDER");
        let get = pb::GetDecisionRequest { decision_id: decision.decision_id, include_inputs: true };
        let inputs = call!(house, decisions.get_decision, "DecisionService/GetDecision", get).unwrap().inputs;
        let inputs: serde_json::Value = serde_json::from_slice(&inputs).unwrap();
        assert_eq!(inputs["monitors"]["m.calls"], 3);
    }

    /// Many ask at once where there is room for all: nobody is turned away, and all are counted.
    async fn a_counter_that_many_share_counts_all(store: TestStore) {
        let house = House::over(store).await;
        let shared = pb::SequenceBody { state_scope: pb::StateScope::Agent.into(), ..count("t1", 41, "time:60") };
        house.sequence(1, "calls", shared).await;
        for n in 1..=4 {
            house.start(n).await;
        }
        let asks = (0..40_u32).map(|n| house.asked(u64::from(n % 4) + 1, n / 4, "t1"));
        assert!(futures::future::join_all(asks).await.iter().all(|v| *v == ALLOW));
        assert_eq!([house.asked(1, 50, "t1").await, house.asked(2, 50, "t1").await], [ALLOW, DENY]);
        house.clock.advance(std::time::Duration::from_secs(61));
        assert_eq!(house.asked(2, 51, "t1").await, ALLOW, "what fell out of the window counts no more");
    }

    /// MUST_FOLLOW: only after the record says that the step before succeeded.
    async fn one_step_only_after_another(store: TestStore) {
        let house = House::over(store).await;
        let after = pb::SequenceBody { trigger: on("pay"), ..body(pb::SequenceKind::MustFollow, "verify", "steps:3") };
        let rule = house.sequence(1, "order", after.clone()).await;
        assert_eq!(rule.sequence, Some(pb::SequenceBody { state_scope: 1, ..after }));
        assert!(rule.cedar.contains("m.order"), "{}", rule.cedar);
        house.start(1).await;
        assert_eq!(house.asked(1, 0, "pay").await, DENY);
        assert_eq!(house.asked(1, 1, "verify").await, ALLOW);
        assert_eq!(house.asked(1, 2, "pay").await, DENY, "it was allowed, and is not done yet");
        let unknown = vec![ended(1, 1, "verify", StepOutcome::Ambiguous)];
        assert_eq!(house.verdict(1, 3, "pay", (0, unknown)).await, DENY);
        assert_eq!(house.asked(1, 4, "verify").await, ALLOW);
        let done = vec![ended(2, 4, "verify", StepOutcome::Success)];
        assert_eq!(house.replica().await.verdict(1, 5, "pay", (2, done)).await, ALLOW);
        assert_eq!(house.asked(1, 8, "pay").await, DENY, "four steps later");
        house.start(2).await;
        assert_eq!(house.asked(2, 0, "pay").await, DENY, "another run");
    }

    /// MUST_NOT_FOLLOW and TAINT: once something was read, nothing is sent; a skipped reading counts for the first only.
    async fn nothing_is_sent_after_reading(store: TestStore) {
        let house = House::over(store).await;
        let never = pb::SequenceBody { trigger: on("send"), ..body(pb::SequenceKind::MustNotFollow, "read", "run") };
        house.sequence(1, "never", never).await;
        let marks = pb::SequenceBody {
            trigger: on("post"), labels: vec!["pii".into()], ..body(pb::SequenceKind::Taint, "read", "")
        };
        house.sequence(2, "marks", marks).await;
        house.start(1).await;
        assert_eq!([house.asked(1, 0, "send").await, house.asked(1, 1, "post").await], [ALLOW, ALLOW]);
        let read = house.step(ask_step(1, 2, "read")).await.unwrap().decision.unwrap();
        assert_eq!((read.verdict, read.taints_added), (ALLOW, vec!["pii".to_owned()]));
        assert_eq!([house.asked(1, 3, "send").await, house.asked(1, 4, "post").await], [DENY, DENY]);
        let skipped = vec![ended(1, 2, "read", StepOutcome::Skipped)];
        assert_eq!(house.verdict(1, 5, "send", (0, skipped)).await, ALLOW);
        assert_eq!(house.replica().await.asked(1, 6, "post").await, DENY, "labels stay");
        // A reading that nobody decided is a reading.
        let wild = vec![ended(2, 30, "read", StepOutcome::Success)];
        assert_eq!(house.verdict(1, 7, "send", (2, wild)).await, DENY);
    }

    /// RUNNING_TOTAL: of an argument, and of what was spent; what was expected counts until the record says otherwise.
    async fn totals_run(store: TestStore) {
        let house = House::over(store).await;
        let paid = pb::SequenceBody {
            max: 100, measure: "number:amount".into(), ..body(pb::SequenceKind::RunningTotal, "pay", "run")
        };
        house.sequence(1, "paid", paid).await;
        let spent = pb::SequenceBody {
            max: 1_000, measure: "cost_microusd".into(), ..body(pb::SequenceKind::RunningTotal, "think", "run")
        };
        house.sequence(2, "spent", spent).await;
        house.start(1).await;
        let pay = |step: u32, amount: i64| pb::EvaluateStepRequest {
            arguments: Some(pb::Arguments { number: [("amount".to_owned(), amount)].into(), ..Default::default() }),
            ..ask_step(1, step, "pay")
        };
        for (step, amount, verdict) in [(0, 60, ALLOW), (1, 41, DENY), (2, 40, ALLOW), (3, 1, DENY)] {
            let decision = house.step(pay(step, amount)).await.unwrap().decision.unwrap();
            assert_eq!(decision.verdict, verdict, "{amount}");
        }
        let think = |step: u32, cost: i64| pb::EvaluateStepRequest {
            estimate: Some(contracts_common::common::v1::Amounts { cost_microusd: cost, ..Default::default() }),
            ..ask_step(1, step, "think")
        };
        assert_eq!(house.step(think(4, 900)).await.unwrap().decision.unwrap().verdict, ALLOW);
        assert_eq!(house.step(think(5, 200)).await.unwrap().decision.unwrap().verdict, DENY);
        let cheap = pb::StepFact { cost_microusd: 300, ..ended(1, 4, "think", StepOutcome::Success) };
        let later = pb::EvaluateStepRequest { observed: vec![cheap], ..think(6, 700) };
        assert_eq!(house.step(later).await.unwrap().decision.unwrap().verdict, ALLOW);
        assert_eq!(house.step(think(7, 1)).await.unwrap().decision.unwrap().verdict, DENY);
    }

    /// Steps that the kernel denied after all are taken out; denied questions count where a rule wants it.
    async fn what_was_not_done_is_taken_out(store: TestStore) {
        let house = House::over(store).await;
        house.sequence(1, "done", count("t1", 1, "run")).await;
        let asked = pb::SequenceBody { count_denied: true, ..count("t2", 1, "run") };
        house.sequence(2, "asked", asked).await;
        house.rule(3, "odd", "", "forbid(principal, action == Runspine::Action::\"tool_call\", \
                                  resource == Runspine::Tool::\"t2\") when { context.step_index == 5 };").await;
        house.start(1).await;
        assert_eq!([house.asked(1, 0, "t1").await, house.asked(1, 1, "t1").await], [ALLOW, DENY]);
        let after = pb::EvaluateStepRequest { withdrawn: vec![0], ..ask_step(1, 2, "t1") };
        assert_eq!(house.step(after.clone()).await.unwrap().decision.unwrap().verdict, ALLOW);
        assert_eq!(house.step(after).await.unwrap().decision.unwrap().verdict, ALLOW, "the same answer again");
        assert_eq!(house.asked(1, 3, "t1").await, DENY);
        assert_eq!([house.asked(1, 5, "t2").await, house.asked(1, 6, "t2").await], [DENY, DENY]);
    }

    /// A8.4: what is open at the end of a run is one violation, however often it was told before; it blocks meanwhile.
    async fn what_was_opened_must_be_closed(store: TestStore) {
        let house = House::over(store).await;
        let leads = pb::SequenceBody {
            closes: on("unlock"), block_until: on("leave"), severity: "HIGH".into(),
            ..body(pb::SequenceKind::MustLeadTo, "lock", "steps:3")
        };
        let rule = house.sequence(1, "unlocks", leads).await;
        house.start(1).await;
        assert_eq!([house.asked(1, 0, "leave").await, house.asked(1, 1, "lock").await], [ALLOW, ALLOW]);
        assert_eq!(house.asked(1, 2, "leave").await, DENY);
        assert_eq!(house.asked(1, 3, "unlock").await, ALLOW);
        let closed = vec![ended(1, 1, "lock", StepOutcome::Success), ended(2, 3, "unlock", StepOutcome::Success)];
        assert_eq!(house.verdict(1, 4, "leave", (0, closed)).await, ALLOW);
        assert_eq!(house.asked(1, 5, "lock").await, ALLOW);
        let late = house.step(ask_step(1, 9, "t1")).await.unwrap();
        assert_eq!(late.violations.len(), 1, "{:?}", late.violations);
        let told = &late.violations[0];
        assert_eq!((told.kind(), told.source(), told.severity()), (
            pb::ViolationKind::Sequence, pb::ViolationSource::Sequence, pb::Severity::High,
        ));
        assert_eq!((told.rule_id.as_str(), told.step_index), (rule.rule_id.as_str(), Some(5)));
        assert!(house.replica().await.step(ask_step(1, 10, "t1")).await.unwrap().violations.is_empty());
        let evaluation = house.end(ask_end(1, 0)).await.unwrap();
        assert_eq!((evaluation.outcome(), evaluation.violations), (pb::EvaluationOutcome::Violation, 1));
        house.start(2).await;
        assert_eq!(house.asked(2, 0, "lock").await, ALLOW);
        let evaluation = house.end(ask_end(2, 0)).await.unwrap();
        assert_eq!((evaluation.outcome(), evaluation.violations), (pb::EvaluationOutcome::Violation, 1));
        house.start(3).await;
        assert_eq!([house.asked(3, 0, "lock").await, house.asked(3, 1, "unlock").await], [ALLOW, ALLOW]);
        let closed = pb::RecordEvaluationRequest {
            observed: vec![ended(1, 0, "lock", StepOutcome::Success), ended(2, 1, "unlock", StepOutcome::Success)],
            ..ask_end(3, 0)
        };
        assert_eq!(house.end(closed).await.unwrap().violations, 0);
        assert_eq!(evaluation.run_id, run(2));
    }

    /// A8.3: a run that is driven on by another process at every step gets the decisions of one that is not.
    async fn another_process_goes_on_with_it(store: TestStore) {
        let house = House::over(store).await;
        house.sequence(1, "calls", count("t1", 3, "steps:6")).await;
        let after = pb::SequenceBody { trigger: on("t2"), ..body(pb::SequenceKind::MustFollow, "t1", "steps:2") };
        house.sequence(2, "order", after).await;
        house.start(1).await;
        house.start(2).await;
        let mut verdicts = [Vec::new(), Vec::new()];
        for step in 0..16_u32 {
            let tool = if step % 3 == 2 { "t2" } else { "t1" };
            let told = || match step {
                0 => (0, vec![]),
                n => {
                    let outcome = if n % 5 == 0 { StepOutcome::Skipped } else { StepOutcome::Success };
                    (if n == 1 { 0 } else { u64::from(n) }, vec![ended(u64::from(n), n - 1, "t1", outcome)])
                }
            };
            verdicts[0].push(house.verdict(1, step, tool, told()).await);
            verdicts[1].push(house.replica().await.verdict(2, step, tool, told()).await);
        }
        assert_eq!(verdicts[0], verdicts[1]);
        assert!(verdicts[0].contains(&ALLOW) && verdicts[0].contains(&DENY), "{verdicts:?}");
    }

    /// 6.6: a state that can't be read is a failure of the decision, never a rule that did not match.
    async fn a_state_that_cant_be_read_degrades(store: TestStore) {
        let house = House::over(store).await;
        house.sequence(1, "calls", count("t1", 1, "run")).await;
        house.start(1).await;
        assert_eq!(house.asked(1, 0, "t1").await, ALLOW);
        let spoil = house.db.write("spoil", |tx| Box::pin(async move {
            let sql = "UPDATE monitor_states SET bytes = $1";
            tx.execute(sql, args![b"not ours".to_vec()]).await?;
            Ok(())
        }));
        spoil.await.unwrap();
        let replica = house.replica().await;
        let decision = replica.step(ask_step(1, 1, "t1")).await.unwrap().decision.unwrap();
        assert_eq!((decision.verdict, decision.failure()), (ALLOW, pb::Failure::MonitorUnavailable));
        let strict = pb::EvaluateStepRequest { profile: 1, ..ask_step(1, 2, "t1") };
        let decision = replica.step(strict).await.unwrap().decision.unwrap();
        assert_eq!((decision.verdict, decision.reasons[0].code.as_str()), (DENY, "MONITOR_UNAVAILABLE"));
    }

    /// A14.1: the snapshot that was recorded decides as it did, sequences and all; a candidate's monitors begin anew.
    async fn a_backtest_watches_again(store: TestStore) {
        let house = House::over(store).await;
        let rule = house.sequence(1, "calls", count("t1", 3, "run")).await;
        let after = pb::SequenceBody { trigger: on("t2"), ..body(pb::SequenceKind::MustFollow, "t1", "steps:2") };
        house.sequence(2, "order", after).await;
        let shared = pb::SequenceBody { state_scope: pb::StateScope::Tenant.into(), ..count("t3", 5, "time:60") };
        house.sequence(3, "shared", shared.clone()).await;
        for n in 1..=6 {
            house.start(n).await;
            for step in 0..9_u32 {
                let tool = ["t1", "t2", "t3"][step as usize % 3];
                let told = match step {
                    0 => (0, vec![]),
                    s => (if s == 1 { 0 } else { u64::from(s) }, vec![ended(u64::from(s), s - 1, "t1", StepOutcome::Success)]),
                };
                house.verdict(n, step, tool, told).await;
            }
        }
        let _working = house.work_on_backtests();
        let same = house.backtest(1, None).await;
        assert_eq!(same.state(), pb::BacktestState::Completed, "{same:?}");
        let report = same.report.unwrap();
        assert!(report.self_check_ok && changed(&report) == 0 && report.replayed == 60, "{report:?}");
        let replace = |body: pb::SequenceBody, rule: &pb::Rule| pb::Candidate {
            changes: vec![pb::CandidateChange {
                change: Some(Change::Replace(pb::CandidateReplacement {
                    rule_id: rule.rule_id.clone(), content: Some(content(&rule.slug, body)),
                })),
            }],
            ..Default::default()
        };
        let fewer = house.backtest(2, Some(replace(count("t1", 2, "run"), &rule))).await.report.unwrap();
        assert_eq!((changed(&fewer), fewer.runs_affected), (6, 6), "the third call of each run: {fewer:?}");
        let other = pb::Candidate {
            changes: vec![pb::CandidateChange { change: Some(Change::Create(content("elsewhere", shared))) }],
            ..Default::default()
        };
        let unknown = house.backtest(3, Some(other)).await.report.unwrap();
        let reasons: Vec<_> = unknown.not_replayable.iter().map(|n| (n.reason(), n.count)).collect();
        assert_eq!(reasons, [(pb::NotReplayable::MonitorHistoryIncomplete, 18)], "{unknown:?}");
    }

    /// What is wrong with a body is told at once, and what is wrong with a head is a finding.
    async fn bodies_are_looked_at(store: TestStore) {
        let house = House::over(store).await;
        let both = pb::RuleContent { cedar: "permit(principal, action, resource);".into(), ..content("s", count("t1", 1, "run")) };
        assert_eq!(reason(&house.create(1, both).await.unwrap_err()), "FIELD_INVALID");
        let window = content("s", count("t1", 1, "hours:5"));
        assert_eq!(reason(&house.create(2, window).await.unwrap_err()), "WINDOW_INVALID");
        let head = pb::SequenceBody { events: "(principal, action, resource".into(), trigger: on("t1"), ..count("t1", 1, "run") };
        let made = house.create(3, content("s", head)).await.unwrap();
        assert!(made.findings.iter().any(|f| f.message.starts_with("`events`")), "{:?}", made.findings);
        assert_eq!(reason(&house.activate(3, &made.rule.unwrap()).await.unwrap_err()), "FINDINGS_BLOCKING");
        let validate = pb::ValidateRuleRequest { sequence: Some(count("t1", 1, "time:5")), ..Default::default() };
        let found = call!(house, rules.validate_rule, "RuleService/ValidateRule", validate).unwrap();
        assert!(found.findings.is_empty() && found.normalized.contains("m.rule"), "{found:?}");
        let start = ask_run(9);
        assert_eq!(house.evaluate_run(start).await.unwrap().decision.unwrap().verdict, ALLOW);
    }
}
