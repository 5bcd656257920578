//! DryRun: a candidate and one question. Nothing is stored.

use std::{borrow::Cow, time::Instant};

use contracts_policies::v1 as pb;
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    decide::{decide, undecided},
    evaluate::evaluate,
    facts::{Bypass, Inputs, Principal, Question, Run, StepQuestion, check_step},
    reasons,
    sandbox::{
        explain::{Explained, explain},
        replay::{Recorded, Stored, moment, readable},
    },
    slice::resource_of,
    words::{Directive, Failure, Profile},
};
use runspine_types::{Digest, Micros};

use super::{candidate::AskCandidate, replay::recorded};
use crate::{
    app::{App, Who, judge::Judged},
    present::{self, Identity},
};

/// A dry run as it is asked for, parsed.
pub(crate) struct AskDryRun {
    pub candidate: AskCandidate,
    pub subject: Subject,
    /// None: that of the recorded decision, else of the call.
    pub profile: Option<Profile>,
}

/// What is decided.
pub(crate) enum Subject {
    /// A recorded decision, again: on the step that was recorded, or on another.
    Recorded(String, Option<Box<StepQuestion>>),
    /// A question made by hand.
    Asked(Box<Asked>),
}

/// A question made by hand.
pub(crate) struct Asked {
    pub principal: Principal,
    pub question: Question,
    pub run: Run,
    pub bypass: Option<Bypass>,
    pub now: Option<Micros>,
}

impl App {
    /// What a candidate decides about one question.
    pub(crate) async fn dry_run(&self, who: &Who, ask: AskDryRun) -> Result<pb::DryRunResponse, Fault> {
        let candidate = self.candidate(who, ask.candidate).await?;
        let snapshot = &candidate.compiled;
        let mut response =
            pb::DryRunResponse { candidate_digest: snapshot.digest.to_vec().into(), ..Default::default() };
        let profile = ask.profile;
        let (decision, explained) = match ask.subject {
            Subject::Recorded(id, instead) => {
                let kept = self.decision(who, &id).await?;
                let of = recorded(&kept.decision, kept.inputs_digest)?;
                let mut inputs = inputs_of(&of, &kept.inputs)?;
                inputs.profile = profile.unwrap_or(inputs.profile);
                if let Some(step) = instead {
                    ask_instead(&mut inputs, *step, snapshot)?;
                }
                let resource = resource_of(&inputs.question, &inputs.run, &inputs.principal);
                let of = (&kept.decision, resource.id.as_str());
                let decided = decide_once(snapshot, &inputs);
                let identity = identity_of(of, snapshot.digest, &inputs);
                response.recorded = Some(kept.decision.clone());
                (present::decision(identity, &decided.0), decided.1)
            }
            Subject::Asked(asked) => {
                let inputs = self.inputs_by_hand(who, *asked, snapshot, profile)?;
                let identity = Identity {
                    decision_id: String::new(),
                    run_id: &inputs.run.run_id,
                    attempt: inputs.run.attempt,
                    ask: 0,
                    moment: moment(&inputs.question),
                    snapshot: snapshot.digest,
                    profile: inputs.profile.code(),
                    config_digest: who.config_digest.clone(),
                    principal: &inputs.principal,
                    resource: &resource_of(&inputs.question, &inputs.run, &inputs.principal).id,
                    at: Micros(inputs.now),
                };
                let decided = decide_once(snapshot, &inputs);
                (present::decision(identity, &decided.0), decided.1)
            }
        };
        response.decision = Some(decision);
        response.rules = explained.iter().map(present::explanation).collect();
        Ok(response)
    }

    fn inputs_by_hand(
        &self,
        who: &Who,
        asked: Asked,
        snapshot: &CompiledSnapshot,
        profile: Option<Profile>,
    ) -> Result<Inputs<'static>, Fault> {
        let mut asked = asked;
        if let Question::Step(step) = &mut asked.question {
            check_step(step, &snapshot.settings.intents)?;
            snapshot.settings.select_arguments(step)?;
        }
        Ok(Inputs {
            approval: None,
            bypass: asked.bypass,
            deferrals: None,
            format: 1,
            monitors: std::collections::BTreeMap::new(),
            now: asked.now.unwrap_or_else(|| self.now()).0,
            observed_directive: Directive::Continue,
            principal: Cow::Owned(asked.principal),
            profile: profile.unwrap_or(who.profile),
            question: asked.question,
            run: asked.run,
            snapshot: snapshot.digest.to_hex(),
            withdrawn: Vec::new(),
        })
    }
}

/// Puts another step into the place of the recorded one. What answers for a step doesn't answer for another.
fn ask_instead(
    inputs: &mut Inputs<'_>,
    step: StepQuestion,
    snapshot: &CompiledSnapshot,
) -> Result<(), Fault> {
    let Question::Step(recorded) = &inputs.question else {
        let text = "the recorded decision was not made on a step";
        return Err(Fault::new(&mesh::FIELD_INVALID, text).field("instead", "FIELD_INVALID", text));
    };
    let mut step =
        StepQuestion { ask: recorded.ask, step_index: recorded.step_index, totals: recorded.totals, ..step };
    check_step(&step, &snapshot.settings.intents)?;
    snapshot.settings.select_arguments(&mut step)?;
    if step != *recorded {
        inputs.approval = None;
        inputs.question = Question::Step(step);
    }
    Ok(())
}

pub(super) fn inputs_of<'a>(of: &Recorded, bytes: &'a [u8]) -> Result<Inputs<'a>, Fault> {
    let stored = if bytes.is_empty() { Stored::Erased } else { Stored::Bytes(bytes) };
    readable(of, stored).map_err(|(why, detail)| {
        let text = format!("the recorded decision can't be decided again: {} {detail}", why.as_str());
        Fault::new(&reasons::NOT_REPLAYABLE, text.trim_end().to_owned()).with("why", why.as_str())
    })
}

fn identity_of<'a>(
    (d, resource): (&'a pb::Decision, &'a str),
    snapshot: Digest,
    inputs: &'a Inputs<'_>,
) -> Identity<'a> {
    Identity {
        decision_id: d.decision_id.clone(),
        run_id: &d.run_id,
        attempt: d.attempt,
        ask: d.ask,
        moment: moment(&inputs.question),
        snapshot,
        profile: inputs.profile.code(),
        config_digest: d.config_digest.clone(),
        principal: &inputs.principal,
        resource,
        at: Micros(inputs.now),
    }
}

/// Decides without any cache, and says what each rule said.
fn decide_once(snapshot: &CompiledSnapshot, inputs: &Inputs<'_>) -> (Judged, Vec<Explained>) {
    let started = Instant::now();
    let resource = resource_of(&inputs.question, &inputs.run, &inputs.principal);
    let slice = snapshot.slice(inputs.question.action(), &inputs.principal, &resource);
    let said = slice.and_then(|slice| evaluate(&slice, inputs).map(|said| (slice, said)));
    let (ruling, explained) = match said {
        Ok((slice, said)) => {
            (decide(&said, inputs, moment(&inputs.question)), explain(&slice, &said, inputs))
        }
        Err(_) => {
            let ruling = undecided(Failure::InvalidContext, inputs.profile, inputs.observed_directive);
            (ruling, Vec::new())
        }
    };
    let bytes = inputs.bytes();
    let judged = Judged {
        ruling,
        inputs_digest: runspine_policies_domain::facts::inputs_digest(&bytes),
        inputs: bytes.into(),
        evaluate_ns: i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX),
        question: inputs.question.clone(),
        run: inputs.run.clone(),
        bypass: inputs.bypass.clone(),
        monitors: inputs.monitors.clone(),
        withdrawn: inputs.withdrawn.clone(),
        deferrals: inputs.deferrals,
    };
    (judged, explained)
}
