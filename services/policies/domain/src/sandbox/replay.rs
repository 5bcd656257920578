//! A recorded decision, decided again by a candidate.
//!
//! Everything that was known then is an input and is taken as it was stored, but for one thing: labels that rules gave
//! the run, and the values of monitors. Those come from the candidate's own rules, as its own answers and its own look at
//! the finished steps give them; labels that came from outside stay. A monitor that looks beyond one run is taken as it
//! was recorded: its history is not that of the runs that are replayed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
};

use crate::{
    compile::{CompiledRule, CompiledSnapshot},
    decide::{Ruling, decide},
    entities::FactsError,
    evaluate::evaluate,
    facts::{EndedQuestion, Inputs, Question, Run, StepQuestion, inputs_digest},
    sequence::{Book, Held, Hit, Monitor, NO_STEP, Place, labels, synthesized},
    slice::{Bound, SliceCache, resource_of},
    words::{Action, Failure, Moment, NotReplayable, Standing, StateScope, Verdict},
};
use runspine_types::Digest;

/// What is compared with of a recorded decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was decided.
    pub verdict: Verdict,
    /// Code of the primary reason; empty: none.
    pub code: String,
    /// The rule behind it; empty: none.
    pub rule_id: String,
    /// Why it was not decided properly.
    pub failure: Option<Failure>,
    /// Whether the reason was the recall of the snapshot.
    pub recalled: bool,
    /// Labels that it gave the run.
    pub taints_added: Vec<String>,
    /// Digest of the inputs it was made of.
    pub inputs_digest: Digest,
}

/// The inputs of a recorded decision as they are stored now.
#[derive(Debug, Clone, Copy)]
pub enum Stored<'a> {
    /// They are there.
    Bytes(&'a [u8]),
    /// They were erased.
    Erased,
    /// There are none.
    Missing,
}

/// A decision made again.
#[derive(Debug)]
pub struct Again {
    /// What the candidate decides.
    pub ruling: Ruling,
    /// Whether the candidate denied something earlier in this run that was not denied: the agent would have acted
    /// otherwise from there on.
    pub counterfactual: bool,
    /// What the attempt had spent before, in micro-USD.
    pub spent: i64,
}

/// Why it was not made again, and what was missing.
pub type Refused = (NotReplayable, String);

/// What is remembered of a run between its decisions.
#[derive(Debug, Default)]
pub struct RunReplay {
    bound: Option<Arc<Bound>>,
    /// Labels that came from outside.
    external: BTreeSet<String>,
    /// Labels that the recorded rules gave.
    recorded: BTreeSet<String>,
    /// Labels that the candidate's rules gave.
    gained: BTreeSet<String>,
    /// The candidate's monitors of this run.
    book: Option<Book>,
    /// Steps that the candidate decided, and that it allowed.
    allowed: BTreeSet<u32>,
    /// Whether a decision that monitors watch could not be read.
    gap: bool,
    begun: bool,
    denied: bool,
    changed: bool,
}

impl RunReplay {
    /// Whether the candidate changed something in it that is not counterfactual.
    #[must_use]
    pub const fn is_affected(&self) -> bool {
        self.changed
    }

    /// A run of which it is known that the candidate denied something in it before.
    #[must_use]
    pub fn denied_before(denied: bool) -> Self {
        Self { denied, ..Self::default() }
    }
}

/// Decides again under one snapshot. Keeps its slices to itself, so that live decisions keep theirs.
#[derive(Debug)]
pub struct Replayer {
    snapshot: Arc<CompiledSnapshot>,
    slices: SliceCache,
    /// Whether finished steps can give labels.
    labels_facts: bool,
    /// Whether any of its rules gives labels.
    gives_labels: bool,
    /// Whether any of its rules watches steps.
    watches: bool,
}

impl Replayer {
    /// For a candidate, or for the snapshot that decisions were made under.
    #[must_use]
    pub fn new(snapshot: Arc<CompiledSnapshot>, slices: NonZeroUsize) -> Self {
        let giving = |r: &&Arc<CompiledRule>| r.notes.obligations.iter().any(|o| o.name == "taint");
        let ended = |r: &Arc<CompiledRule>| r.actions & (1 << Action::StepEnded.code()) != 0;
        let gives_labels = snapshot.rules.iter().any(|r| giving(&r));
        let labels_facts = snapshot.rules.iter().filter(giving).any(ended);
        let watches = snapshot.watching_rules().next().is_some();
        Self { snapshot, slices: SliceCache::new(slices), labels_facts, gives_labels, watches }
    }

    /// Its snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &CompiledSnapshot {
        &self.snapshot
    }

    /// Whether it has to be told of finished steps.
    #[must_use]
    pub const fn needs_facts(&self) -> bool {
        self.labels_facts || self.watches
    }

    /// Whether a run has to be known from its start.
    #[must_use]
    pub const fn remembers(&self) -> bool {
        self.gives_labels || self.watches
    }

    /// What its rules say to inputs, changed in nothing.
    ///
    /// # Errors
    /// When the facts do not fit the schema.
    pub fn ruling(&self, inputs: &Inputs<'_>, bound: &Bound) -> Result<Ruling, FactsError> {
        let resource = resource_of(&inputs.question, &inputs.run, &bound.principal);
        let (slice, _) = self.slices.get(&self.snapshot, inputs.question.action(), bound, resource)?;
        let said = evaluate(&slice, inputs)?;
        Ok(decide(&said, inputs, moment(&inputs.question)))
    }

    /// The labels that finished steps give, one after the other.
    fn observed(
        &self,
        facts: &[EndedQuestion],
        inputs: &Inputs<'_>,
        bound: &Bound,
        taints: &mut BTreeSet<String>,
    ) {
        if !self.labels_facts {
            return;
        }
        for fact in facts {
            // Facts that do not fit gave no label then either.
            if let Ok(ruling) = self.ruling(&ended(fact, inputs, taints), bound) {
                taints.extend(ruling.taints_added);
            }
        }
    }

    /// What the candidate learns of finished steps: labels, and what its monitors count.
    fn learned(&self, run: &mut RunReplay, facts: &[EndedQuestion], inputs: &Inputs<'_>, bound: &Bound) {
        let Some(mut book) = run.book.take() else { return };
        let mut taints: BTreeSet<String> = run.external.union(&run.gained).cloned().collect();
        for fact in facts {
            let now = if fact.occurred_at > 0 { fact.occurred_at } else { inputs.now };
            let place = Place { principal: &bound.principal, step: fact.step_index, now };
            let mut asked = ended(fact, inputs, &taints);
            asked.monitors = book.all_values(Place { now: inputs.now, ..place });
            let mut hits: Vec<Hit> = Vec::new();
            if let Ok(ruling) = self.ruling(&asked, bound) {
                taints.extend(ruling.taints_added);
                hits.extend(ruling.hits);
            }
            book.recorded(fact, place);
            if !run.allowed.contains(&fact.step_index) {
                asked.question = Question::Step(synthesized(fact));
                let unknown = self.ruling(&asked, bound).map(|r| r.hits).unwrap_or_default();
                taints.extend(labels(&unknown));
                hits.extend(unknown);
            }
            book.happened(&hits, fact, place);
        }
        run.gained.extend(taints.difference(&run.external).cloned());
        run.book = Some(book);
    }

    /// The values that its rules read for a question.
    fn values(
        &self,
        own: &Self,
        run: &RunReplay,
        inputs: &Inputs<'_>,
        bound: &Bound,
    ) -> Result<BTreeMap<String, i64>, Refused> {
        let resource = resource_of(&inputs.question, &inputs.run, &bound.principal);
        let slice = self.slices.get(&self.snapshot, inputs.question.action(), bound, resource);
        let read = slice.map(|(slice, _)| slice.read.clone()).unwrap_or_default();
        let (of_run, shared): (Vec<Arc<Monitor>>, Vec<_>) =
            read.into_iter().partition(|m| m.scope == StateScope::Run);
        let unknown = |name: &str| (NotReplayable::MonitorHistoryIncomplete, name.to_owned());
        if let Some(first) = of_run.first().filter(|_| run.gap) {
            return Err(unknown(&first.name));
        }
        let step = step_of(&inputs.question);
        let place = Place { principal: &bound.principal, step, now: inputs.now };
        let mut values = run.book.as_ref().map(|b| b.values(&of_run, place)).unwrap_or_default();
        for monitor in shared {
            let same = own.snapshot.watching_rules().filter_map(|r| r.monitor.as_ref());
            let known = same.filter(|m| m.key == monitor.key).find_map(|m| inputs.monitors.get(&m.name));
            values.insert(monitor.name.clone(), *known.ok_or_else(|| unknown(&monitor.name))?);
        }
        Ok(values)
    }

    /// What counts for its monitors of a decision that is in force.
    fn counts(
        &self,
        run: &mut RunReplay,
        inputs: &Inputs<'_>,
        bound: &Bound,
        hits: &[Hit],
        verdict: Verdict,
    ) {
        let Question::Step(question) = &inputs.question else { return };
        if matches!(verdict, Verdict::Allow | Verdict::Modify) {
            run.allowed.insert(question.step_index);
        }
        let place = Place { principal: &bound.principal, step: question.step_index, now: inputs.now };
        if let Some(book) = &mut run.book {
            book.decided(hits, question, place, verdict);
        }
    }

    /// Decides again. `own`: the snapshot that it was made under; `facts`: the finished steps that it was told of.
    ///
    /// # Errors
    /// Why it can't be decided again. The run goes on as it was recorded then.
    pub fn replay(
        &self,
        own: &Self,
        run: &mut RunReplay,
        recorded: &Recorded,
        stored: Stored<'_>,
        facts: &[EndedQuestion],
    ) -> Result<Again, Refused> {
        let inputs = readable(recorded, stored);
        run.gap |= inputs.is_err() && self.watches;
        let done = inputs.and_then(|inputs| self.again(own, run, inputs, (facts, recorded.verdict)));
        run.recorded.extend(recorded.taints_added.iter().cloned());
        match done {
            Ok(again) => {
                run.gained.extend(again.ruling.taints_added.iter().cloned());
                if again.ruling.verdict != recorded.verdict && !again.counterfactual {
                    run.changed = true;
                    run.denied |= again.ruling.verdict == Verdict::Deny;
                }
                Ok(again)
            }
            Err(refused) => {
                run.gained.extend(recorded.taints_added.iter().cloned());
                Err(refused)
            }
        }
    }

    fn again(
        &self,
        own: &Self,
        run: &mut RunReplay,
        mut inputs: Inputs<'_>,
        (facts, recorded): (&[EndedQuestion], Verdict),
    ) -> Result<Again, Refused> {
        let bound = match &run.bound {
            Some(bound) if bound.principal == *inputs.principal => Arc::clone(bound),
            _ => Arc::new(Bound::new(inputs.principal.clone().into_owned())),
        };
        run.bound = Some(Arc::clone(&bound));
        if !run.begun {
            run.begun = true;
            run.external = inputs.run.taints.iter().cloned().collect();
        }
        if self.watches && run.book.is_none() {
            run.book = Some(fresh_book(&self.snapshot, &bound));
        }
        if own.labels_facts || self.labels_facts {
            let mut seen: BTreeSet<String> = run.external.union(&run.recorded).cloned().collect();
            own.observed(facts, &inputs, &bound, &mut seen);
            run.recorded.extend(seen.difference(&run.external).cloned());
            let mut seen: BTreeSet<String> = run.external.union(&run.gained).cloned().collect();
            if !self.watches {
                self.observed(facts, &inputs, &bound, &mut seen);
            }
            run.gained.extend(seen.difference(&run.external).cloned());
        }
        self.learned(run, facts, &inputs, &bound);
        if let Some(book) = &mut run.book {
            book.withdrawn(&inputs.withdrawn, &bound.principal, inputs.now);
        }
        if run.recorded != run.gained {
            let given = |t: &String| run.recorded.contains(t) && !run.external.contains(t);
            let kept = inputs.run.taints.iter().filter(|t| !given(t)).cloned();
            let taints: BTreeSet<String> = kept.chain(run.gained.iter().cloned()).collect();
            inputs.run.taints = taints.into_iter().collect();
        }
        if self.watches {
            inputs.monitors = self.values(own, run, &inputs, &bound)?;
        }
        let ruling = self.ruling(&inputs, &bound);
        let ruling = ruling.map_err(|e| (NotReplayable::SchemaIncompatible, e.to_string()))?;
        let at_hand = inputs.approval.as_ref().map(|a| a.standing);
        if ruling.verdict == Verdict::RequireApproval
            && matches!(at_hand, Some(Standing::Usable | Standing::Auto))
        {
            // Whoever approved was not asked about the candidate's rules.
            self.counts(run, &inputs, &bound, &ruling.hits, recorded);
            return Err((NotReplayable::ApprovalDependent, String::new()));
        }
        if let (Some(approval), Some(demand)) = (&inputs.approval, &ruling.demand)
            && approval.standing == Standing::Usable
            && !demand.rules.iter().all(|r| approval.rules.contains(r))
        {
            self.counts(run, &inputs, &bound, &ruling.hits, recorded);
            return Err((NotReplayable::ApprovalDependent, String::new()));
        }
        self.counts(run, &inputs, &bound, &ruling.hits, ruling.effective_verdict);
        Ok(Again { ruling, counterfactual: run.denied, spent: spent(&inputs.question) })
    }
}

/// A finished step as a question, with the labels so far. Made for every fact: nothing is copied that it does not have.
fn ended<'a>(fact: &EndedQuestion, inputs: &'a Inputs<'_>, taints: &BTreeSet<String>) -> Inputs<'a> {
    Inputs {
        approval: inputs.approval.clone(),
        bypass: None,
        deferrals: None,
        format: inputs.format,
        monitors: inputs.monitors.clone(),
        now: inputs.now,
        observed_directive: inputs.observed_directive,
        principal: Cow::Borrowed(inputs.principal.as_ref()),
        profile: inputs.profile,
        question: Question::Ended(fact.clone()),
        run: Run { taints: taints.iter().cloned().collect(), ..inputs.run.clone() },
        snapshot: inputs.snapshot.clone(),
        withdrawn: inputs.withdrawn.clone(),
    }
}

/// Monitors of one run that know nothing yet.
fn fresh_book(snapshot: &CompiledSnapshot, bound: &Bound) -> Book {
    let mut own = snapshot.monitors(&bound.principal);
    own.retain(|m| m.scope == StateScope::Run);
    let mut book = Book::new(0, own);
    for holder in book.holders(&bound.principal, 0, &[]) {
        book.put(holder, Held::default());
    }
    book
}

fn step_of(question: &Question) -> u32 {
    match question {
        Question::Step(StepQuestion { step_index, .. }) => *step_index,
        Question::Ended(q) => q.step_index,
        Question::Start(_) | Question::End(_) => NO_STEP,
    }
}

/// The stored inputs, if they are those that were decided on and the decision was made by rules.
///
/// # Errors
/// Why not.
pub fn readable<'a>(recorded: &Recorded, stored: Stored<'a>) -> Result<Inputs<'a>, Refused> {
    let no = |why: NotReplayable| (why, String::new());
    if recorded.recalled {
        return Err(no(NotReplayable::RecalledOriginal));
    }
    if recorded.failure.is_some_and(|f| f != Failure::EvaluationError) {
        return Err(no(NotReplayable::DegradedOriginal));
    }
    let bytes = match stored {
        Stored::Bytes(bytes) => bytes,
        Stored::Erased => return Err(no(NotReplayable::InputsErased)),
        Stored::Missing => return Err(no(NotReplayable::InputsMissing)),
    };
    if inputs_digest(bytes) != recorded.inputs_digest {
        return Err((NotReplayable::InputsMissing, "the stored bytes do not fit their digest".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|e| (NotReplayable::SchemaIncompatible, e.to_string()))
}

/// The moment of a question.
#[must_use]
pub const fn moment(question: &Question) -> Moment {
    match question {
        Question::Start(_) => Moment::RunStart,
        Question::Step(_) => Moment::StepStart,
        Question::Ended(_) => Moment::StepEnd,
        Question::End(_) => Moment::RunEnd,
    }
}

fn spent(question: &Question) -> i64 {
    match question {
        Question::Step(q) => q.totals.cost_microusd,
        _ => 0,
    }
}
