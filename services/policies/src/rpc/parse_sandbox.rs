//! Candidates, ranges and questions made by hand into domain types.

use contracts_policies::v1 as pb;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    facts::Question,
    sandbox::{backtest::Range, candidate::Change},
    words::Profile,
};
use runspine_types::{Digest, Micros};

use super::{parse, parse_rule, parse_step};
use crate::app::{
    Who,
    sandbox::{
        backtests::AskBacktest,
        candidate::{AskCandidate, AskChange},
        dry_run::{AskDryRun, Asked, Subject},
    },
};

/// The run of a question that names none.
const NO_RUN: &str = "00000000-0000-7000-8000-000000000000";

fn required(field: &str, what: &str) -> Fault {
    let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
    fault.field(field, "REQUIRED", what)
}

/// A candidate; none: what is in force.
pub(super) fn candidate(c: Option<pb::Candidate>) -> Result<AskCandidate, Fault> {
    let c = c.unwrap_or_default();
    let mut v = Violations::new();
    let base = Digest::from_slice(&c.base_digest);
    let fits = c.base_digest.is_empty() || base.is_some();
    v.require(fits, "candidate.base_digest", "DIGEST_INVALID", "32 bytes, or empty");
    v.into_result(&mesh::FIELD_INVALID)?;
    let changes: Result<Vec<_>, Fault> = c.changes.into_iter().map(change).collect();
    Ok(AskCandidate { base, changes: changes? })
}

fn change(c: pb::CandidateChange) -> Result<AskChange, Fault> {
    use pb::candidate_change::Change as Asked;
    Ok(match c.change {
        None => return Err(required("candidate.changes.change", "what is done")),
        Some(Asked::Create(content)) => {
            AskChange::Ready(Box::new(Change::Create(parse_rule::content(Some(content))?.0)))
        }
        Some(Asked::Replace(r)) => {
            AskChange::Ready(Box::new(Change::Replace(r.rule_id, parse_rule::content(r.content)?.0)))
        }
        Some(Asked::Retire(rule_id)) => AskChange::Ready(Box::new(Change::Retire(rule_id))),
        Some(Asked::Mode(m)) => {
            AskChange::Ready(Box::new(Change::Mode(m.rule_id, parse_rule::mode(m.mode)?)))
        }
        Some(Asked::Version(v)) => AskChange::Version(v.rule_id, v.version),
    })
}

/// What to test, and on what.
pub(super) fn backtest(r: &pb::StartBacktestRequest) -> Result<AskBacktest, Fault> {
    parse::request_id(&r.request_id)?;
    let mut v = Violations::new();
    v.require(r.since.is_some(), "since", "REQUIRED", "from when on");
    v.require(r.until.is_some(), "until", "REQUIRED", "until when");
    v.into_result(&mesh::FIELD_INVALID)?;
    let at = |t: &Option<prost_types::Timestamp>| t.as_ref().map_or(0, |t| runspine_rpc::micros(t).0);
    let range = Range {
        agents: parse::sorted(r.agent_ids.clone()),
        runs: parse::sorted(r.run_ids.clone()),
        since: at(&r.since),
        until: at(&r.until),
    };
    Ok(AskBacktest { candidate: candidate(r.candidate.clone())?, range })
}

/// What to look at beside live decisions, and until when.
pub(super) fn shadow(r: &pb::StartShadowRequest) -> Result<(AskCandidate, Micros), Fault> {
    parse::request_id(&r.request_id)?;
    let ends_at = r.ends_at.as_ref().ok_or_else(|| required("ends_at", "when it ends"))?;
    Ok((candidate(r.candidate.clone())?, runspine_rpc::micros(ends_at)))
}

/// A candidate and one question.
pub(super) fn dry_run(who: &Who, r: pb::DryRunRequest) -> Result<AskDryRun, Fault> {
    use pb::dry_run_request::Subject as Of;
    let mut v = Violations::new();
    let profile = Profile::from_code(r.profile);
    v.require(r.profile == 0 || profile.is_some(), "profile", "ENUM_UNKNOWN", "a known profile");
    v.into_result(&mesh::FIELD_INVALID)?;
    let subject = match r.subject {
        None => return Err(required("subject", "a decision_id, a start, a step or another step")),
        Some(Of::DecisionId(id)) => Subject::Recorded(id, None),
        Some(Of::Instead(other)) => {
            let mut step = other.step.ok_or_else(|| required("instead.step", "the step"))?;
            named(&mut step.run_id, &mut step.attempt);
            Subject::Recorded(other.decision_id, Some(Box::new(parse_step::ask_step(who, &step)?.question)))
        }
        Some(Of::Start(start)) => Subject::Asked(Box::new(started(who, start)?)),
        Some(Of::Step(step)) => Subject::Asked(Box::new(stepped(who, step)?)),
    };
    Ok(AskDryRun { candidate: candidate(r.candidate)?, subject, profile })
}

fn started(who: &Who, mut start: pb::EvaluateRunRequest) -> Result<Asked, Fault> {
    named(&mut start.run_id, &mut start.attempt);
    let ask = parse::ask_run(who, &start)?;
    Ok(Asked {
        principal: ask.principal,
        question: Question::Start(ask.question),
        run: ask.run,
        bypass: None,
        now: ask.now,
    })
}

fn stepped(who: &Who, step: pb::DryRunStep) -> Result<Asked, Fault> {
    let mut of = step.step.ok_or_else(|| required("step.step", "the step"))?;
    let mut run = step.run.ok_or_else(|| required("step.run", "for whom"))?;
    named(&mut of.run_id, &mut of.attempt);
    (run.run_id, run.attempt) = (of.run_id.clone(), of.attempt);
    let for_whom = parse::ask_run(who, &run)?;
    let ask = parse_step::ask_step(who, &of)?;
    Ok(Asked {
        principal: for_whom.principal,
        question: Question::Step(ask.question),
        run: ask.run,
        bypass: ask.bypass,
        now: ask.now,
    })
}

fn named(run_id: &mut String, attempt: &mut u32) {
    if run_id.is_empty() {
        NO_RUN.clone_into(run_id);
    }
    *attempt = (*attempt).max(1);
}
