//! One question put to one snapshot, in memory.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    decide::{self, Ruling},
    evaluate::{Said, evaluate},
    facts::{ApprovalFacts, Bypass, Inputs, Question, Run, inputs_digest},
    slice::{Bound, resource_of},
    words::{Directive, Failure, Moment, Profile},
};
use runspine_types::{Digest, Micros};

use super::{App, cache::LoadError, metrics};

/// A question with what it is put under.
pub(crate) struct Asked<'a> {
    pub bound: &'a Bound,
    pub digest: Digest,
    pub profile: Profile,
    pub now: Micros,
    pub question: Question,
    pub run: Run,
    pub bypass: Option<Bypass>,
    /// What is known of an approval, when the rules were found to demand one.
    pub approval: Option<ApprovalFacts>,
    /// What observed steps led to.
    pub observed: Directive,
    pub moment: Moment,
    /// Values of monitors.
    pub monitors: BTreeMap<String, i64>,
    /// Steps that were allowed here and denied after all.
    pub withdrawn: Vec<u32>,
    /// How often the question was put off; none: not more often than it was put.
    pub deferrals: Option<u32>,
    /// The state of a sequence rule can't be used.
    pub lost: bool,
}

/// The answer, with the bytes that it was made of.
pub(crate) struct Judged {
    pub ruling: Ruling,
    pub inputs: Bytes,
    pub inputs_digest: Digest,
    pub evaluate_ns: i64,
    pub question: Question,
    pub run: Run,
    pub bypass: Option<Bypass>,
    pub monitors: BTreeMap<String, i64>,
    pub withdrawn: Vec<u32>,
    pub deferrals: Option<u32>,
}

impl App {
    /// Decides. A snapshot that can't be loaded, facts that don't fit and a spent budget are decided by the profile.
    pub(crate) fn judge(
        &self,
        asked: Asked<'_>,
        snapshot: &Result<Arc<CompiledSnapshot>, LoadError>,
        recall: i32,
    ) -> Judged {
        let started = Instant::now();
        let inputs = Inputs {
            approval: asked.approval,
            bypass: asked.bypass,
            deferrals: asked.deferrals,
            format: 1,
            monitors: asked.monitors,
            now: asked.now.0,
            observed_directive: asked.observed,
            principal: Cow::Borrowed(&asked.bound.principal),
            profile: asked.profile,
            question: asked.question,
            run: asked.run,
            snapshot: asked.digest.to_hex(),
            withdrawn: asked.withdrawn,
        };
        let ruling = match (Directive::from_code(recall), snapshot) {
            (Some(directive), _) => decide::recalled(directive),
            (None, Err(_)) => decide::undecided(Failure::SnapshotUnavailable, asked.profile, asked.observed),
            (None, Ok(_)) if asked.lost => {
                decide::undecided(Failure::MonitorUnavailable, asked.profile, asked.observed)
            }
            (None, Ok(snapshot)) => self.evaluate(snapshot, asked.bound, &inputs, asked.moment, started),
        };
        let bytes = inputs.bytes();
        Judged {
            ruling,
            inputs_digest: inputs_digest(&bytes),
            inputs: bytes.into(),
            evaluate_ns: i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX),
            question: inputs.question,
            run: inputs.run,
            bypass: inputs.bypass,
            monitors: inputs.monitors,
            withdrawn: inputs.withdrawn,
            deferrals: inputs.deferrals,
        }
    }

    fn evaluate(
        &self,
        snapshot: &CompiledSnapshot,
        bound: &Bound,
        inputs: &Inputs<'_>,
        moment: Moment,
        started: Instant,
    ) -> Ruling {
        let resource = resource_of(&inputs.question, &inputs.run, &bound.principal);
        let slice = self.cache.slices.get(snapshot, inputs.question.action(), bound, resource);
        let said = slice.and_then(|(slice, was_kept)| {
            self.hits.add(was_kept);
            metrics::slice(was_kept);
            evaluate(&slice, inputs)
        });
        let candidates = said.as_ref().map_or(0, Said::candidates);
        metrics::evaluated(started.elapsed(), candidates);
        match said {
            Ok(_) if started.elapsed() > self.budget => {
                decide::undecided(Failure::Timeout, inputs.profile, inputs.observed_directive)
            }
            Ok(said) => decide::decide(&said, inputs, moment),
            Err(error) => {
                tracing::warn!(%error, "the mesh's own facts do not fit the schema");
                decide::undecided(Failure::InvalidContext, inputs.profile, inputs.observed_directive)
            }
        }
    }
}
