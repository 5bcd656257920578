//! Candidates: against one question, and against what was recorded.

use std::time::Duration;

use contracts_common::common::v1::{GovernanceProfile, Verdict};
use contracts_policies::v1::{self as pb, candidate_change::Change, dry_run_request::Subject};
use prost::Message as _;
use runspine_db::args;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run, test_id, until_ok};
use runspine_types::{Micros, hash};
use tonic::Status;

use crate::{
    approvals::PAY,
    call,
    harness::{House, START, ask_run, ask_step, content, fact, reason},
    sequences,
};

const ANY_TOOL: &str = "forbid(principal, action == Runspine::Action::\"tool_call\", resource)";

/// How many decisions the large test replays: enough to meet every part of it. A14.1 asks for 10,000:
/// `BACKTEST_DECISIONS=10000`.
fn many() -> u32 {
    std::env::var("BACKTEST_DECISIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

fn change(change: Change) -> pb::CandidateChange {
    pb::CandidateChange { change: Some(change) }
}

/// A candidate with one more rule.
pub fn extra(slug: &str, annotations: &str, policy: &str) -> pb::Candidate {
    let create = change(Change::Create(content(slug, annotations, policy)));
    pb::Candidate { changes: vec![create], ..Default::default() }
}

pub fn denies(tool: &str) -> pb::Candidate {
    let policy = format!("{ANY_TOOL} when {{ resource == Runspine::Tool::\"{tool}\" }};");
    extra("extra", "", &policy)
}

/// Everything recorded so far.
fn request(n: u64, candidate: Option<pb::Candidate>) -> pb::StartBacktestRequest {
    pb::StartBacktestRequest {
        request_id: test_id(40, n),
        candidate,
        since: Some(timestamp(Micros(START.0 - 1_000_000))),
        until: Some(timestamp(Micros(START.0 + 1))),
        ..Default::default()
    }
}

impl House {
    /// Tests a candidate on everything recorded so far, to the end.
    pub async fn backtest(&self, n: u64, candidate: Option<pb::Candidate>) -> pb::Backtest {
        let started = self.start_backtest(request(n, candidate)).await.unwrap();
        self.finished(&started.backtest_id).await
    }

    async fn start_backtest(&self, request: pb::StartBacktestRequest) -> Result<pb::Backtest, Status> {
        if self.clock_stands() {
            self.clock.advance(Duration::from_secs(5));
        }
        let done = call!(self, sandbox.start_backtest, "SandboxService/StartBacktest", request);
        done.map(|r| r.backtest.unwrap())
    }

    fn clock_stands(&self) -> bool {
        use runspine_types::Clock as _;
        self.clock.now() == START
    }

    async fn get_backtest(&self, id: &str) -> Result<pb::Backtest, Status> {
        let get = pb::GetBacktestRequest { backtest_id: id.to_owned() };
        call!(self, sandbox.get_backtest, "SandboxService/GetBacktest", get).map(|r| r.backtest.unwrap())
    }

    async fn finished(&self, id: &str) -> pb::Backtest {
        until_ok(Duration::from_secs(120), async || {
            let backtest = self.get_backtest(id).await.map_err(|s| s.to_string())?;
            let over = !matches!(backtest.state(), pb::BacktestState::Queued | pb::BacktestState::Running);
            if over { Ok(backtest) } else { Err(format!("{:?}", backtest.state())) }
        })
        .await
    }

    /// A row in each of the tables that the sandbox only appends to.
    pub async fn rows_of_the_sandbox(&self) {
        let _working = self.work_on_backtests();
        let found = self.backtest(90, Some(denies("t1"))).await.report.unwrap();
        assert!(!found.examples.is_empty());
        let _looking = self.look_for_shadows();
        self.shadow_that_saw(91, 50).await;
        self.acknowledged_finding().await;
    }

    async fn diffs(&self, request: pb::ListBacktestDiffsRequest) -> Vec<pb::DecisionDiff> {
        let (mut request, mut all) = (request, Vec::new());
        loop {
            let name = "SandboxService/ListBacktestDiffs";
            let page = call!(self, sandbox.list_backtest_diffs, name, request.clone()).unwrap();
            all.extend(page.diffs);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Runs with rules that deny, oblige, taint and look at finished steps; `steps` decisions besides the starts.
    pub async fn recorded(&self, runs: u64, steps: u32) -> u32 {
        self.rules_of_the_record().await;
        let mut count = 0;
        for n in 1..=runs {
            self.start(n).await;
            count += 1 + self.recorded_steps(n, steps).await;
        }
        count
    }

    /// The same in runs that two sequence rules watch, and that have one step approved and done.
    async fn recorded_whole(&self, runs: u64) -> u32 {
        self.rules_of_the_record().await;
        self.sequence(6, "often", sequences::count("reads", 2, "run")).await;
        let sent = sequences::body(pb::SequenceKind::MustFollow, "reads", "steps:4");
        self.sequence(7, "sent", pb::SequenceBody { trigger: sequences::on("t1"), ..sent }).await;
        let mut count = 0;
        for n in 1..=runs {
            self.begin(n, 1).await;
            count += 1 + self.recorded_steps(n, 7).await;
            self.paid(n, 9, n).await;
            count += 2;
        }
        count
    }

    async fn rules_of_the_record(&self) {
        let late = format!("{ANY_TOOL} when {{ context.step_index == 7 }};");
        self.rule(1, "late", "", &late).await;
        let reads = format!("{ANY_TOOL} when {{ resource == Runspine::Tool::\"reads\" }};");
        self.rule(2, "reads", "@outcome(\"modify\") @obligations(\"cap_tokens(100); taint(pii)\")", &reads)
            .await;
        let sends = format!(
            "{ANY_TOOL} when {{ resource == Runspine::Tool::\"sends\" && context.run.taints.contains(\"pii\") }};"
        );
        self.rule(3, "sends", "", &sends).await;
        let ended = "forbid(principal, action == Runspine::Action::\"step_ended\", resource) \
                     when { context.outcome == \"FAILURE\" };";
        self.rule(4, "ended", "@outcome(\"warn\") @obligations(\"taint(shaky)\")", ended).await;
        let shaky = format!("{ANY_TOOL} when {{ context.run.taints.contains(\"shaky\") }};");
        self.rule(5, "shaky", "@outcome(\"warn\")", &shaky).await;
    }

    async fn recorded_steps(&self, n: u64, steps: u32) -> u32 {
        for step in 0..steps {
            let tool = ["reads", "sends", "t1"][(step as usize + n as usize) % 3];
            let mut ask = ask_step(n, step, tool);
            if step > 0 {
                let mut told = fact(u64::from(step), step - 1, "t1");
                told.cost_microusd = 10;
                if (u64::from(step) + n).is_multiple_of(4) {
                    told.outcome = contracts_common::common::v1::StepOutcome::Failure.into();
                }
                ask.from_seq = if step > 1 { u64::from(step) } else { 0 };
                ask.observed = vec![told];
            }
            self.step(ask).await.unwrap();
        }
        steps
    }
}

pub fn cell(report: &pb::SandboxReport, recorded: Verdict, candidate: Verdict) -> u64 {
    let of = |c: &&pb::MatrixCell| c.recorded() == recorded && c.candidate() == candidate;
    report.matrix.iter().find(of).map_or(0, |c| c.count)
}

pub fn assert_adds_up(report: &pb::SandboxReport) {
    let refused: u64 = report.not_replayable.iter().map(|n| n.count).sum();
    assert_eq!(report.examined, report.replayed + refused);
    assert_eq!(report.replayed, report.matrix.iter().map(|c| c.count).sum::<u64>());
    let bare = pb::SandboxReport { report_digest: Default::default(), ..report.clone() };
    assert_eq!(report.report_digest, hash(&bare.encode_to_vec()).to_vec());
}

on_both_engines! {
    /// A14.1, A14.4: what was recorded, tested on itself, differs in nothing; a repeat is the same, byte for byte.
    async fn the_recorded_snapshot_reproduces_itself(store: TestStore) {
        let house = House::over(store).await;
        let _working = house.work_on_backtests();
        house.rule(90, "approve", "@outcome(\"require_approval\")", PAY).await;
        let count = house.recorded_whole(u64::from(many().div_ceil(10)).max(2)).await;
        let done = house.backtest(1, None).await;
        assert_eq!(done.state(), pb::BacktestState::Completed, "{done:?}");
        let report = done.report.clone().unwrap();
        assert_adds_up(&report);
        assert!(report.self_check_ok && report.self_checked >= u64::from(count).min(100), "{report:?}");
        assert_eq!((report.examined, report.replayed), (u64::from(count), u64::from(count)));
        assert!(report.matrix.iter().all(|c| c.recorded == c.candidate), "{:?}", report.matrix);
        assert!(report.matrix.len() >= 4, "allowed, denied, obliged and put to a person: {:?}", report.matrix);
        let denied = cell(&report, Verdict::Deny, Verdict::Deny);
        assert!(denied > u64::from(count) / 10, "sequences deny in every run: {:?}", report.matrix);
        assert_eq!((report.examples.len(), report.runs_affected), (0, 0));
        let again = house.backtest(2, None).await.report.unwrap();
        assert_eq!(again.encode_to_vec(), report.encode_to_vec());
        let list = pb::ListBacktestsRequest { page_size: 1, ..Default::default() };
        let list = call!(house, sandbox.list_backtests, "SandboxService/ListBacktests", list).unwrap();
        assert_eq!((list.backtests.len(), list.next_page_token.is_empty()), (1, false));
        assert!(list.backtests[0].report.is_none());
    }

    /// A14.2: one more denial is found exactly where it matches, and what follows it in a run is told apart.
    async fn one_more_denial_is_found_exactly(store: TestStore) {
        let house = House::over(store).await;
        let _working = house.work_on_backtests();
        house.recorded(6, 9).await;
        let plain = house.backtest(1, None).await.report.unwrap();
        let done = house.backtest(2, Some(denies("t1"))).await;
        let report = done.report.clone().unwrap();
        assert_adds_up(&report);
        // Nine steps of which every third is on t1; step 7 was denied before, whatever it was on.
        let denied: u64 = (1..=6_u64).map(|n| (0..9).filter(|s| (s + n) % 3 == 2 && *s != 7).count() as u64).sum();
        assert_eq!(cell(&report, Verdict::Allow, Verdict::Deny), denied);
        let changed: u64 = report.matrix.iter().filter(|c| c.recorded != c.candidate).map(|c| c.count).sum();
        assert_eq!(changed, denied, "{:?}", report.matrix);
        assert_eq!((report.runs_affected, report.cost_microusd_affected), (6, 6 * 8 * 10));
        let by_rule = report.changes.iter().find(|c| c.dimension() == pb::ChangeDimension::Rule).unwrap();
        assert_eq!((by_rule.key.as_str(), by_rule.count), ("candidate.extra", denied));
        let all = pb::ListBacktestDiffsRequest { backtest_id: done.backtest_id.clone(), page_size: 4, ..Default::default() };
        let diffs = house.diffs(all.clone()).await;
        assert_eq!(diffs.len() as u64, denied);
        assert!(diffs.iter().all(|d| d.resource == "t1" && d.candidate_code == "TEST_RULE"), "{diffs:?}");
        let first = house.diffs(pb::ListBacktestDiffsRequest { first_only: true, ..all.clone() }).await;
        assert_eq!(first.len(), 6, "one in each run; the rest is counterfactual");
        let none = pb::ListBacktestDiffsRequest { candidate: Verdict::Modify.into(), ..all.clone() };
        assert!(house.diffs(none).await.is_empty());
        let ruled = pb::ListBacktestDiffsRequest { rule_id: "candidate.extra".into(), ..all };
        assert_eq!(house.diffs(ruled).await.len() as u64, denied);

        let gone = first[0].decision_id.clone();
        let erase = house.db.write("erase", move |tx| Box::pin(async move {
            let sql = "UPDATE decision_inputs SET bytes = $1 WHERE EXISTS (SELECT 1 FROM decisions d WHERE \
                       d.run_key = decision_inputs.run_key AND d.step_index = decision_inputs.step_index \
                       AND d.ask = decision_inputs.ask AND d.decision_id = $2)";
            Ok(tx.execute(sql, args![Vec::<u8>::new(), gone]).await?)
        }));
        assert_eq!(erase.await.unwrap(), 1);
        let erased = house.backtest(3, None).await.report.unwrap();
        assert_adds_up(&erased);
        assert_eq!((erased.examined, erased.replayed), (plain.examined, plain.replayed - 1));
        assert_eq!(erased.not_replayable[0].reason(), pb::NotReplayable::InputsErased);
        let again = pb::DryRunRequest { subject: Some(Subject::DecisionId(first[0].decision_id.clone())), ..Default::default() };
        let refused = call!(house, sandbox.dry_run, "SandboxService/DryRun", again).unwrap_err();
        assert_eq!(reason(&refused), "NOT_REPLAYABLE");
    }

    /// Labels that the candidate's rules give no more are not there for its other rules; those it gives more are.
    async fn labels_are_those_of_the_candidate(store: TestStore) {
        let house = House::over(store).await;
        let _working = house.work_on_backtests();
        house.recorded(3, 9).await;
        let rules = call!(house, rules.list_rules, "RuleService/ListRules", pb::ListRulesRequest::default()).unwrap().rules;
        let id = |slug: &str| rules.iter().find(|r| r.slug == slug).unwrap().rule_id.clone();
        let without = |slug: &str| pb::Candidate { changes: vec![change(Change::Retire(id(slug)))], ..Default::default() };
        let report = house.backtest(1, Some(without("reads"))).await.report.unwrap();
        assert!(cell(&report, Verdict::Deny, Verdict::Allow) > 0, "nothing taints, so sending is free: {report:?}");
        assert!(cell(&report, Verdict::Modify, Verdict::Allow) > 0);
        let blocks = pb::CandidateMode { rule_id: id("shaky"), mode: pb::RuleMode::Audit.into() };
        let both = pb::Candidate { changes: vec![change(Change::Retire(id("ended"))), change(Change::Mode(blocks))], ..Default::default() };
        let report = house.backtest(2, Some(both)).await.report.unwrap();
        assert!(report.matrix.iter().all(|c| c.recorded == c.candidate), "warnings are no verdicts");
        let taints = "forbid(principal, action == Runspine::Action::\"step_ended\", resource);";
        let policy = content("more", "@outcome(\"warn\") @obligations(\"taint(pii)\")", taints);
        let changes = vec![change(Change::Create(policy)), change(Change::Retire(id("reads")))];
        let other = pb::Candidate { changes, ..Default::default() };
        let report = house.backtest(3, Some(other)).await.report.unwrap();
        let cells = (cell(&report, Verdict::Modify, Verdict::Allow), cell(&report, Verdict::Deny, Verdict::Allow));
        assert!(cells.0 > 0 && cells.1 == 0, "finished steps taint instead: {:?}", report.matrix);
    }

    /// A dry run decides as the real thing does, explains itself and stores nothing.
    async fn a_dry_run_stores_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "warns", "@outcome(\"warn\")", &format!("{ANY_TOOL};")).await;
        house.start(1).await;
        let recorded = house.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap();
        let before = house.told().await.len();
        let dry = |candidate, subject| pb::DryRunRequest { candidate, subject: Some(subject), ..Default::default() };
        let same = dry(None, Subject::DecisionId(recorded.decision_id.clone()));
        let same = call!(house, sandbox.dry_run, "SandboxService/DryRun", same).unwrap();
        let decision = same.decision.unwrap();
        assert_eq!(same.recorded, Some(recorded.clone()));
        assert_eq!((decision.verdict, &decision.warnings, &decision.matches), (recorded.verdict, &recorded.warnings, &recorded.matches));
        let matched: Vec<_> = same.rules.iter().map(|r| (r.slug.as_str(), r.matched)).collect();
        assert_eq!(matched.len(), 2);
        assert!(matched.contains(&("warns", true)) && matched.contains(&("sys.baseline", true)), "{matched:?}");

        let step = pb::DryRunStep {
            run: Some(pb::EvaluateRunRequest { run_id: String::new(), ..ask_run(1) }),
            step: Some(pb::EvaluateStepRequest { run_id: String::new(), ..ask_step(1, 3, "t1") }),
        };
        let by_hand = dry(Some(denies("t1")), Subject::Step(step.clone()));
        let by_hand = call!(house, sandbox.dry_run, "SandboxService/DryRun", by_hand).unwrap();
        let decision = by_hand.decision.unwrap();
        assert_eq!((decision.verdict(), decision.reasons[0].source_id.as_str()), (Verdict::Deny, "candidate.extra"));
        assert_ne!(by_hand.candidate_digest, same.candidate_digest);
        let observed = pb::DryRunRequest { profile: GovernanceProfile::ObserveOnly.into(), ..dry(Some(denies("t1")), Subject::Step(step)) };
        let observed = call!(house, sandbox.dry_run, "SandboxService/DryRun", observed).unwrap().decision.unwrap();
        assert_eq!((observed.verdict(), observed.effective_verdict()), (Verdict::Deny, Verdict::Allow));
        let start = dry(None, Subject::Start(pb::EvaluateRunRequest { run_id: String::new(), ..ask_run(1) }));
        let start = call!(house, sandbox.dry_run, "SandboxService/DryRun", start).unwrap().decision.unwrap();
        assert_eq!((start.verdict(), start.moment()), (Verdict::Allow, pb::Moment::RunStart));

        let list = pb::ListDecisionsRequest { run_id: run(1), ..Default::default() };
        let list = call!(house, decisions.list_decisions, "DecisionService/ListDecisions", list).unwrap();
        assert_eq!((list.decisions.len(), house.told().await.len()), (2, before));
    }

    /// A recorded decision is made again on another step, under the snapshot that it was made under; an approval that was
    /// spent answers for its own step only.
    async fn a_recorded_decision_on_another_step(store: TestStore) {
        let house = House::over(store).await;
        let forbids = format!("{ANY_TOOL} when {{ resource == Runspine::Tool::\"t2\" }};");
        house.rule(1, "no-t2", "", &forbids).await;
        house.start(1).await;
        let recorded = house.step(ask_step(1, 0, "t1")).await.unwrap().decision.unwrap();
        // What is in force later says nothing about what was recorded.
        let later = format!("{ANY_TOOL} when {{ resource == Runspine::Tool::\"t1\" }};");
        house.rule(2, "later", "", &later).await;
        let dry = async |tool: &str, snapshot: &[u8]| {
            let other = pb::DryRunInstead {
                decision_id: recorded.decision_id.clone(),
                step: Some(pb::EvaluateStepRequest { run_id: String::new(), ..ask_step(9, 5, tool) }),
            };
            let base = pb::Candidate { base_digest: snapshot.to_vec().into(), ..Default::default() };
            let ask = pb::DryRunRequest { candidate: Some(base), subject: Some(Subject::Instead(other)), ..Default::default() };
            let answer = call!(house, sandbox.dry_run, "SandboxService/DryRun", ask).unwrap();
            assert_eq!(answer.recorded, Some(recorded.clone()));
            answer.decision.unwrap()
        };
        let same = dry("t1", &recorded.snapshot_digest).await;
        let told = |d: &pb::Decision| (d.verdict, d.directive, d.reasons.clone(), d.inputs_digest.clone(), d.resource.clone());
        assert_eq!(told(&same), told(&recorded));
        let other = dry("t2", &recorded.snapshot_digest).await;
        assert_eq!((other.verdict(), other.resource.as_str(), other.step_index), (Verdict::Deny, "t2", Some(0)));
        assert_eq!(dry("t1", &[]).await.verdict(), Verdict::Deny, "what is in force");

        house.rule(90, "approve", "@outcome(\"require_approval\")", PAY).await;
        house.start(2).await;
        let paid = house.paid(2, 0, 1).await;
        let again = async |arguments: u8| {
            let step = pb::EvaluateStepRequest { arguments_digest: vec![arguments; 32].into(), ..ask_step(2, 0, "pay") };
            let other = pb::DryRunInstead { decision_id: paid.decision_id.clone(), step: Some(step) };
            let base = pb::Candidate { base_digest: paid.snapshot_digest.clone(), ..Default::default() };
            let ask = pb::DryRunRequest { candidate: Some(base), subject: Some(Subject::Instead(other)), ..Default::default() };
            call!(house, sandbox.dry_run, "SandboxService/DryRun", ask).unwrap().decision.unwrap().verdict
        };
        assert_eq!(again(5).await, paid.verdict);
        assert_ne!(again(6).await, paid.verdict, "the approval was for other arguments");
        let start = pb::DryRunInstead { decision_id: recorded.decision_id.clone(), step: None };
        let ask = pb::DryRunRequest { subject: Some(Subject::Instead(start)), ..Default::default() };
        let refused = call!(house, sandbox.dry_run, "SandboxService/DryRun", ask).unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }

    /// What can't be made is refused with its reason.
    async fn candidates_are_checked(store: TestStore) {
        let house = House::over(store).await;
        let made = house.rule(1, "own", "", &format!("{ANY_TOOL} when {{ context.step_index == 99 }};")).await.rule.unwrap();
        house.start(1).await;
        let refused = async |changes: Vec<Change>| {
            let candidate = pb::Candidate { changes: changes.into_iter().map(change).collect(), ..Default::default() };
            let subject = Some(Subject::Start(ask_run(1)));
            let dry = pb::DryRunRequest { candidate: Some(candidate), subject, ..Default::default() };
            reason(&call!(house, sandbox.dry_run, "SandboxService/DryRun", dry).unwrap_err())
        };
        let retire = || Change::Retire(made.rule_id.clone());
        assert_eq!(refused(vec![Change::Retire(test_id(9, 77))]).await, "RULE_NOT_FOUND");
        assert_eq!(refused(vec![Change::Retire("sys.baseline".into())]).await, "RULE_NOT_FOUND");
        assert_eq!(refused(vec![retire(), retire()]).await, "FIELD_INVALID");
        assert_eq!(refused(vec![Change::Create(content("own", "", "forbid(principal, action, resource);"))]).await, "SLUG_TAKEN");
        assert_eq!(refused(vec![Change::Create(content("bad", "", "forbid(principal, action);"))]).await, "FINDINGS_BLOCKING");
        let global = pb::RuleContent { scope: pb::RuleScope::Global.into(), ..content("g", "", "forbid(principal, action, resource);") };
        assert_eq!(refused(vec![Change::Create(global)]).await, "SCOPE_INVALID");
        let version = pb::CandidateVersion { rule_id: made.rule_id.clone(), version: 9 };
        assert_eq!(refused(vec![Change::Version(version)]).await, "RULE_NOT_FOUND");
        let other = pb::CandidateReplacement { rule_id: made.rule_id.clone(), content: Some(content("other", "", "forbid(principal, action, resource);")) };
        assert_eq!(refused(vec![Change::Replace(other)]).await, "FIELD_INVALID");
        let base = pb::Candidate { base_digest: vec![9; 32].into(), ..Default::default() };
        let dry = pb::DryRunRequest { candidate: Some(base), subject: Some(Subject::Start(ask_run(1))), ..Default::default() };
        let dry = call!(house, sandbox.dry_run, "SandboxService/DryRun", dry).unwrap_err();
        assert_eq!(reason(&dry), "SNAPSHOT_NOT_FOUND");
    }

    /// A range is past and short; two back-tests are not done at most; a cancelled one stays so; repeats get the first answer.
    async fn backtests_are_limited_and_can_be_cancelled(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let bad = pb::StartBacktestRequest { until: Some(timestamp(Micros(START.0 + 3_600_000_000))), ..request(1, None) };
        assert_eq!(reason(&house.start_backtest(bad).await.unwrap_err()), "WINDOW_INVALID");
        let one = house.start_backtest(request(1, None)).await.unwrap();
        assert_eq!((one.state(), one.total), (pb::BacktestState::Queued, 1));
        assert_eq!(house.start_backtest(request(1, None)).await.unwrap(), one);
        assert_eq!(reason(&house.start_backtest(request(1, Some(denies("t1")))).await.unwrap_err()), "IDEMPOTENCY_MISMATCH");
        let two = house.start_backtest(request(2, None)).await.unwrap();
        assert_eq!(reason(&house.start_backtest(request(3, None)).await.unwrap_err()), "BACKTEST_QUOTA");
        let cancel = |n, id: &str| pb::CancelBacktestRequest { request_id: test_id(41, n), backtest_id: id.to_owned() };
        let name = "SandboxService/CancelBacktest";
        let ended = call!(house, sandbox.cancel_backtest, name, cancel(1, &one.backtest_id)).unwrap();
        assert_eq!(ended.backtest.as_ref().unwrap().state(), pb::BacktestState::Cancelled);
        assert_eq!(call!(house, sandbox.cancel_backtest, name, cancel(1, &one.backtest_id)).unwrap(), ended);
        let over = call!(house, sandbox.cancel_backtest, name, cancel(2, &one.backtest_id)).unwrap_err();
        assert_eq!(reason(&over), "BACKTEST_TRANSITION_INVALID");
        let none = call!(house, 2, sandbox.cancel_backtest, name, cancel(3, &two.backtest_id)).unwrap_err();
        assert_eq!(reason(&none), "BACKTEST_NOT_FOUND");
        let _working = house.work_on_backtests();
        assert_eq!(house.finished(&two.backtest_id).await.state(), pb::BacktestState::Completed);
        assert_eq!(house.get_backtest(&one.backtest_id).await.unwrap().state(), pb::BacktestState::Cancelled);
    }

    /// Whoever watches hears of every state and, last, of the report.
    async fn progress_is_told_as_it_comes(store: TestStore) {
        let house = House::over(store).await;
        house.recorded(2, 3).await;
        let queued = house.start_backtest(request(1, None)).await.unwrap();
        let watch = pb::WatchBacktestRequest { backtest_id: queued.backtest_id.clone() };
        let mut moves = call!(house, sandbox.watch_backtest, "SandboxService/WatchBacktest", watch).unwrap();
        let _working = house.work_on_backtests();
        let mut heard = Vec::new();
        while let Some(told) = moves.message().await.unwrap() {
            heard.push(told.backtest.unwrap());
        }
        assert_eq!(heard[0], queued);
        assert!(heard.is_sorted_by_key(|b| b.version));
        let last = heard.last().unwrap();
        assert_eq!((last.state(), last.examined, last.total), (pb::BacktestState::Completed, 8, 8));
        assert!(last.report.is_some());
    }

    /// A worker that went away leaves a claim; another takes over when it ends, and what the first had found is not read.
    async fn another_worker_takes_over(store: TestStore) {
        let house = House::over(store).await;
        house.recorded(2, 3).await;
        let queued = house.start_backtest(request(1, None)).await.unwrap();
        let id = queued.backtest_id.clone();
        let leave = house.db.write("leave", move |tx| Box::pin(async move {
            let sql = "UPDATE backtests SET state = 2, claim = 1, lease_until = $1 WHERE backtest_id = $2";
            tx.execute(sql, args![Micros(START.0 + 10_000_000), &id]).await?;
            let sql = "INSERT INTO backtest_diffs (backtest_key, claim, decision_id, run_id, attempt, step_index, recorded, \
                       candidate, recorded_code, recorded_rule, candidate_code, candidate_rule, counterfactual, agent_id, \
                       resource) SELECT id, 1, 'left', 'r', 1, 0, 1, 2, '', '', '', '', 0, 'a', 't' FROM backtests";
            tx.execute(sql, args![]).await?;
            Ok(())
        }));
        leave.await.unwrap();
        let listed = pb::ListBacktestDiffsRequest { backtest_id: queued.backtest_id.clone(), ..Default::default() };
        assert_eq!(house.diffs(listed.clone()).await.len(), 1);
        let _working = house.work_on_backtests();
        house.clock.advance(Duration::from_secs(10));
        let done = house.finished(&queued.backtest_id).await;
        assert_eq!(done.state(), pb::BacktestState::Completed);
        assert!(house.diffs(listed).await.is_empty());
    }

    /// A record that its own snapshot does not reproduce makes the whole report one that is not to be relied on.
    async fn a_record_that_does_not_come_out_again_is_told(store: TestStore) {
        let house = House::over(store).await;
        house.recorded(1, 2).await;
        let forge = house.db.write("forge", move |tx| Box::pin(async move {
            let unlock = tx.dialect().pick(
                "DROP TRIGGER decisions_append_only_update",
                "ALTER TABLE decisions DISABLE TRIGGER decisions_append_only_update",
            );
            tx.execute(unlock, args![]).await?;
            let (id, answer): (i64, bytes::Bytes) =
                tx.fetch_one("SELECT id, answer FROM decisions WHERE step_index = 0", args![]).await?;
            let mut forged = pb::EvaluateStepResponse::decode(answer).unwrap();
            forged.decision.as_mut().unwrap().candidates += 1;
            tx.execute("UPDATE decisions SET answer = $1 WHERE id = $2", args![forged.encode_to_vec(), id]).await?;
            Ok(())
        }));
        forge.await.unwrap();
        let _working = house.work_on_backtests();
        let done = house.backtest(1, None).await;
        assert_eq!(done.state(), pb::BacktestState::Invalid);
        let report = done.report.unwrap();
        assert!(!report.self_check_ok && !report.self_check_failed_id.is_empty());
    }
}
