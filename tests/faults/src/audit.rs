//! Looks for every page of every diary in what the mesh stored.

use std::collections::BTreeMap;

use contracts_common::common::v1::{
    AckStatus, AuditStatus, RunPhase, RunStatus, StepOutcome, TerminationReason,
};
use contracts_logs::v1::{
    AuditContract, ContractKey, ContractState, GetAuditContractRequest, GetTraceRequest, LedgerStatus,
    ListRecordsRequest, StoredRecord, VerifyLedgerRequest,
    audit_contract_service_client::AuditContractServiceClient, ledger_service_client::LedgerServiceClient,
    trace_record, trace_service_client::TraceServiceClient,
};
use contracts_spine::v1::{
    CompletionIntent, GetRunProofRequest, GetRunRequest, GetRunResponse, ProofStatus, Run, StartOutcome,
};
use futures::{StreamExt as _, stream};
use prost::Message as _;
use runspine_e2e::Client;
use tonic::Code;

use crate::diary::{Diary, Kind};

const AT_ONCE: usize = 4;

/// What was compared.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Runs whose diary was compared.
    pub runs: u64,
    /// Starts that were never answered and left no run.
    pub nothing: u64,
    /// Answers that were looked for on the traces.
    pub answers: u64,
    /// Calls that were repeated because nobody answered.
    pub repeated: u64,
    /// Runs by the code that they ended with; empty for a success.
    pub ends: BTreeMap<String, u64>,
    /// Contracts that are INCOMPLETE because something was late, with what.
    pub late: BTreeMap<String, u64>,
    /// What does not agree.
    pub wrong: Vec<String>,
}

impl Report {
    /// Takes over another report.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.nothing += other.nothing;
        self.answers += other.answers;
        self.repeated += other.repeated;
        for (code, count) in other.ends {
            *self.ends.entry(code).or_default() += count;
        }
        for (finding, count) in other.late {
            *self.late.entry(finding).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }

    /// Prints what was compared and fails when something does not agree.
    ///
    /// # Panics
    /// Then.
    pub fn settle(self, test: &str) {
        let Self { runs, nothing, answers, repeated, ends, late, wrong } = self;
        eprintln!(
            "{test}: {runs} runs, {answers} answers found on their traces, {repeated} calls repeated, \
             {nothing} starts left nothing; ends {ends:?}; late {late:?}"
        );
        assert!(wrong.is_empty(), "{test}: {} differences: {wrong:#?}", wrong.len());
    }
}

/// Compares every diary with what the mesh says now.
pub async fn audit(client: &Client, diaries: &[Diary]) -> Report {
    let mut report = Report::default();
    let mut looks = stream::iter(diaries.iter().map(|diary| look(client, diary))).buffer_unordered(AT_ONCE);
    while let Some(one) = looks.next().await {
        report.add(one);
    }
    report
}

/// Verifies the whole ledger of the tenant and gives how many entries it has.
///
/// # Panics
/// When it does not verify.
pub async fn ledger(client: &Client) -> u64 {
    let mut ledgers = LedgerServiceClient::with_interceptor(client.channel(), client.credential());
    let verified = ledgers.verify_ledger(VerifyLedgerRequest { from_seq: 0, to_seq: 0 }).await;
    let verified = verified.expect("the ledger can be verified").into_inner();
    assert_eq!(verified.status(), LedgerStatus::Verified, "{verified:?}");
    verified.verified_count
}

struct Look<'a> {
    diary: &'a Diary,
    report: Report,
}

impl Look<'_> {
    fn require(&mut self, agrees: bool, what: impl FnOnce() -> String) {
        if !agrees {
            self.report.wrong.push(format!("{} ({}): {}", self.diary.run_id, self.diary.left, what()));
        }
    }
}

async fn look(client: &Client, diary: &Diary) -> Report {
    let mut look = Look { diary, report: Report { repeated: diary.repeated, ..Report::default() } };
    let get = GetRunRequest { run_id: diary.run_id.clone(), attempt: 0, view: 0 };
    let found = match client.runs().get_run(get).await {
        Ok(found) => found.into_inner(),
        Err(status) if status.code() == Code::NotFound && diary.may_be_nothing() => {
            look.report.nothing = 1;
            return look.report;
        }
        Err(status) => {
            look.require(false, || format!("can't be read: {status:?}"));
            return look.report;
        }
    };
    look.report.runs = 1;
    let contract = contract(client, &diary.run_id).await;
    look.end(&found, &contract);
    look.promises(&contract);
    look.answers(&records(client, &diary.run_id).await);
    let proof = GetRunProofRequest { run_id: diary.run_id.clone(), attempt: 0 };
    match client.runs().get_run_proof(proof).await {
        Ok(proof) => {
            let proof = proof.into_inner();
            look.require(proof.overall() == ProofStatus::Verified, || format!("proof {proof:?}"));
        }
        Err(status) => look.require(false, || format!("no proof: {status:?}")),
    }
    look.report
}

impl Look<'_> {
    /// It ended as what was written down first says, and that is something that could happen to its agent.
    fn end(&mut self, found: &GetRunResponse, contract: &AuditContract) {
        let run = found.run.clone().unwrap_or_default();
        *self.report.ends.entry(run.error_code.clone()).or_default() += 1;
        let intents: Vec<CompletionIntent> = contract
            .intents
            .iter()
            .filter(|i| i.kind == "COMPLETION")
            .filter_map(|i| CompletionIntent::decode(i.payload.clone()).ok())
            .collect();
        let [intent] = intents.as_slice() else {
            return self.require(false, || format!("{} completion intents", intents.len()));
        };
        self.require(matches!(run.phase(), RunPhase::Completed | RunPhase::Failed), || format!("{run:?}"));
        let as_written = (run.status, run.termination_reason, &run.error_code)
            == (intent.status, intent.reason, &intent.error_code);
        self.require(as_written, || format!("ended {run:?}, but was written down as {intent:?}"));
        let expected = self.could_end_as(intent);
        let diary = self.diary;
        self.require(expected, || format!("can't have ended as {intent:?}; {diary:?}"));
        let told = self.diary.ended.as_ref().and_then(|e| e.run.clone());
        if let Some(told) = told.filter(is_over) {
            self.require(told.status == run.status, || format!("told {told:?}, ended {run:?}"));
        }
    }

    fn could_end_as(&self, intent: &CompletionIntent) -> bool {
        let diary = self.diary;
        let agents = match diary.wanted {
            Some(StepOutcome::Success) => Some((RunStatus::Succeeded, TerminationReason::Completed)),
            Some(_) => Some((RunStatus::Failed, TerminationReason::AgentFailure)),
            None => None,
        };
        let end = (intent.status(), intent.reason());
        // By the rule, or by the check that could not decide and may not let it go on.
        let by_policy = !matches!(intent.status(), RunStatus::Succeeded | RunStatus::Unspecified);
        let system = end == (RunStatus::Failed, TerminationReason::SystemFailure);
        let denied = diary.started.as_ref().is_some_and(|s| s.outcome() == StartOutcome::Denied);
        match (intent.opened_by.as_str(), diary.ended.is_some()) {
            ("DENIED", _) => denied || diary.started.is_none(),
            // What the agent was told is so is so.
            ("AGENT", _) => diary.wanted.is_some() && (Some(end) == agents || (diary.stopped && by_policy)),
            (_, true) => false,
            // A start may be given up as long as nobody was told that the run goes.
            ("STALE", false) if denied || diary.started.is_none() => {
                system && matches!(intent.error_code.as_str(), "STALE_RUN" | "START_ABANDONED")
            }
            ("STALE", false) => (system && intent.error_code == "STALE_RUN") || (diary.stopped && by_policy),
            ("HALTED", false) => diary.stopped && by_policy,
            _ => false,
        }
    }

    /// The contract is closed and complete; each action was done once.
    fn promises(&mut self, contract: &AuditContract) {
        self.require(contract.state() == ContractState::Closed, || "the contract is open".to_owned());
        self.require(!contract.parked, || format!("parked: {}", contract.parked_reason));
        for (domain, action) in [
            ("logs", "start_trace"),
            ("incidents", "create_incident"),
            ("policies", "evaluate_policy"),
            ("controls", "settle_budget"),
            ("logs", "complete_trace"),
            ("orchestrator", "finalize_run"),
        ] {
            let acks = || contract.acks.iter().filter(|a| a.domain == domain && a.action == action);
            let mut results: Vec<(i32, &str)> = acks().map(|a| (a.status, a.result_id.as_str())).collect();
            results.sort_unstable();
            results.dedup();
            let done = acks().all(|a| matches!(a.status(), AckStatus::Success | AckStatus::NotApplicable));
            self.require(results.len() == 1 && done, || format!("{domain}/{action}: {results:?}"));
        }
        let last = contract.verdicts.iter().max_by_key(|v| v.seq);
        let findings = last.map(|v| v.findings.clone()).unwrap_or_default();
        if contract.audit_status() != AuditStatus::Complete {
            let late = !findings.is_empty() && findings.iter().all(|f| f.code == "LATE");
            self.require(late, || format!("{:?} with {findings:?}", contract.audit_status()));
        }
        for finding in findings.iter().filter(|f| f.code == "LATE") {
            let road = if self.diary.started.is_none() { "unanswered start" } else { "run" };
            let name = format!("{road}: {}/{}", finding.domain, finding.action);
            *self.report.late.entry(name).or_default() += 1;
        }
    }

    /// Every answered decision and step is on the trace, where its receipt says.
    fn answers(&mut self, traces: &BTreeMap<String, Vec<StoredRecord>>) {
        for kept in &self.diary.kept {
            self.report.answers += 1;
            let place = traces.get(&kept.receipt.trace_id);
            let stored = place.and_then(|records| {
                records
                    .iter()
                    .find(|r| r.record.as_ref().is_some_and(|r| r.position == kept.receipt.position))
            });
            let same = stored.is_some_and(|stored| {
                let record = stored.record.clone().unwrap_or_default();
                let kind = match record.body {
                    Some(trace_record::Body::Decision(d)) => Some(Kind::Decision(d.decision_id)),
                    Some(trace_record::Body::Step(s)) => Some(Kind::Step(s.decision_id)),
                    _ => None,
                };
                stored.link == kept.receipt.link
                    && record.step_index == Some(kept.step_index)
                    && kind.as_ref() == Some(&kept.kind)
            });
            self.require(same, || format!("answered {kept:?}, stored {stored:?}"));
        }
    }
}

fn is_over(run: &Run) -> bool {
    matches!(run.phase(), RunPhase::Completed | RunPhase::Failed)
}

/// The contract of a run's first attempt.
///
/// # Panics
/// When it can't be read.
pub async fn contract(client: &Client, run_id: &str) -> AuditContract {
    let mut contracts = AuditContractServiceClient::with_interceptor(client.channel(), client.credential());
    let key = ContractKey { saga: "run".to_owned(), subject_id: run_id.to_owned(), attempt: 1 };
    let found = contracts.get_audit_contract(GetAuditContractRequest { key: Some(key) }).await;
    found.expect("a contract").into_inner().contract.expect("a contract")
}

/// The records of a run's trace and of its addenda, by trace.
async fn records(client: &Client, run_id: &str) -> BTreeMap<String, Vec<StoredRecord>> {
    let mut traces = TraceServiceClient::with_interceptor(client.channel(), client.credential());
    let get = GetTraceRequest { run_id: run_id.to_owned(), attempt: 1 };
    let found = traces.get_trace(get).await.expect("a trace").into_inner();
    let mut all = BTreeMap::new();
    for (number, trace) in found.trace.iter().chain(&found.addenda).enumerate() {
        let list = ListRecordsRequest {
            run_id: run_id.to_owned(),
            attempt: 1,
            addendum: u32::try_from(number).unwrap_or(0),
            page_size: 1_000,
            ..ListRecordsRequest::default()
        };
        let listed = traces.list_records(list).await.expect("its records").into_inner();
        assert!(listed.next_page_token.is_empty(), "a run of a crash test fits on a page");
        let id = trace.header.as_ref().map(|h| h.trace_id.clone()).unwrap_or_default();
        all.insert(id, listed.records);
    }
    all
}
