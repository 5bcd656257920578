//! A monitor, ready to look at steps: its heads as policies, so that they mean what the heads of rules mean.

use std::sync::Arc;

use runspine_types::Hasher;

use super::{body::Sequence, state::Limits, window::Measure};
use crate::{
    compile::{self, Place},
    condition::Condition,
    facts::Principal,
    rule::Meaning,
    text,
    words::{Action, Mode, SequenceKind, Severity, StateScope},
};

/// What a head is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its steps are the events.
    Events,
    /// Its steps close what is due.
    Closes,
}

/// A head with its conditions.
#[derive(Debug)]
pub struct Head {
    /// Bit n: action n is in it.
    pub actions: u16,
    /// Its resource.
    pub resource: Place,
    /// Its principal.
    pub principal: Place,
    /// When it matches, besides.
    pub condition: Condition,
}

impl Head {
    /// Reads `(principal, action …, resource …) when { … }`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(head: &str) -> Result<Self, String> {
        let found = text::check(&text_of(head), None, Mode::Block);
        let first = || found.findings.first().map(|f| f.message.clone());
        let parsed = found.parsed.ok_or_else(|| first().unwrap_or_else(|| "it is no head".to_owned()))?;
        let (actions, resource, principal) = compile::head_of(&parsed.policy);
        let steps = Action::ALL.iter().filter(|a| a.is_step()).fold(0_u16, |m, a| m | 1 << a.code());
        let ended = 1 << Action::StepEnded.code();
        if head.contains("monitors") {
            return Err("monitors are read by restrictions, not by what they watch".to_owned());
        }
        if actions == 0 || (actions & !steps != 0 && actions != ended) {
            return Err("it is about steps, or about `step_ended` alone".to_owned());
        }
        Ok(Self { condition: Condition::of(&parsed.policy)?, actions, resource, principal })
    }
}

/// A head as the text of a policy: what is found in it is found at the same place after this much.
pub(crate) const BEFORE_HEAD: &str = "@id(\"head\") @reason(\"HEAD\")\npermit ";

pub(crate) fn text_of(head: &str) -> String {
    format!("{BEFORE_HEAD}{head}\n;")
}

/// A monitor.
#[derive(Debug)]
pub struct Monitor {
    /// The rule.
    pub rule_id: String,
    /// Its version.
    pub version: u32,
    /// `m.` and the rule's slug: the name of its value.
    pub name: String,
    /// What its states are kept under.
    pub key: String,
    /// What it asks, and how far back it looks.
    pub limits: Limits,
    /// What it sums up.
    pub measure: Measure,
    /// Whose steps one state is about.
    pub scope: StateScope,
    /// Whether denied questions count.
    pub count_denied: bool,
    /// Labels that events give the run.
    pub labels: Vec<String>,
    /// The events.
    pub events: Head,
    /// What closes them.
    pub closes: Option<Head>,
    /// Code of its reason.
    pub code: String,
    /// Severity of a violation.
    pub severity: Severity,
    /// For a person.
    pub message: String,
    /// How far its rule counts.
    pub mode: Mode,
    /// Whether its restriction reads no other monitor.
    pub reads_itself_only: bool,
    from: Option<i64>,
    until: Option<i64>,
}

impl Monitor {
    /// The monitor of a rule with this body.
    ///
    /// # Errors
    /// What is wrong with a head.
    pub fn new(meaning: &Meaning, body: &Sequence) -> Result<Self, String> {
        let head = |name: &str, text: &str| Head::parse(text).map_err(|e| format!("`{name}`: {e}"));
        let closes = if body.closes.is_empty() { None } else { Some(head("closes", &body.closes)?) };
        let identity = Hasher::new("runspine.monitor.v1")
            .sized(meaning.rule_id.as_bytes())
            .sized(&body.identity())
            .finish();
        let restricted = if body.trigger.is_empty() { &body.block_until } else { &body.trigger };
        Ok(Self {
            rule_id: meaning.rule_id.clone(),
            version: meaning.version,
            name: format!("m.{}", meaning.slug),
            key: identity.to_hex()[..32].to_owned(),
            limits: Limits { kind: body.kind, window: body.window() },
            measure: body.measure(),
            scope: body.state_scope,
            count_denied: body.count_denied,
            labels: body.labels.clone(),
            events: head("events", &body.events)?,
            closes,
            code: body.reason.clone(),
            severity: Severity::from_text(&body.severity).unwrap_or(Severity::Medium),
            message: body.message.clone(),
            mode: meaning.mode,
            reads_itself_only: !restricted.contains("monitors"),
            from: meaning.effective_from,
            until: meaning.effective_until,
        })
    }

    /// Whether its rule is in force at `at`, microseconds.
    #[must_use]
    pub fn is_effective(&self, at: i64) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether it keeps anything between steps.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.limits.kind != SequenceKind::Taint
    }

    /// Bit n: action n is in one of its heads.
    #[must_use]
    pub fn actions(&self) -> u16 {
        self.events.actions | self.closes.as_ref().map_or(0, |h| h.actions)
    }

    /// Its heads.
    pub fn heads(&self) -> impl Iterator<Item = (Role, &Head)> {
        let closes = self.closes.iter().map(|h| (Role::Closes, h));
        std::iter::once((Role::Events, &self.events)).chain(closes)
    }

    /// The head of a role.
    #[must_use]
    pub fn head(&self, role: Role) -> &Head {
        match (role, &self.closes) {
            (Role::Closes, Some(closes)) => closes,
            _ => &self.events,
        }
    }

    /// Whose state a step of this attempt belongs to. A run without a key or a person is counted by itself.
    #[must_use]
    pub fn holder(&self, p: &Principal, run_key: i64) -> String {
        let of_run = || run_holder(run_key);
        match self.scope {
            StateScope::Run => of_run(),
            StateScope::Agent => format!("agent/{}/{}", self.key, p.agent.id),
            StateScope::ApiKey => {
                p.api_key.as_ref().map_or_else(of_run, |k| format!("api_key/{}/{}", self.key, k.id))
            }
            StateScope::HumanActor => {
                p.human.as_ref().map_or_else(of_run, |h| format!("human/{}/{}", self.key, h.id))
            }
            StateScope::Tenant => format!("tenant/{}", self.key),
        }
    }
}

/// Who holds the states that are about one attempt.
pub(super) fn run_holder(run_key: i64) -> String {
    format!("run/{run_key}")
}

/// A step that a head of a monitor matches.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The monitor.
    pub monitor: Arc<Monitor>,
    /// Which head.
    pub role: Role,
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        (&self.monitor.key, self.role) == (&other.monitor.key, other.role)
    }
}

impl Eq for Hit {}

/// The labels that matched heads give a run.
pub fn labels(hits: &[Hit]) -> impl Iterator<Item = String> + '_ {
    let in_force = |h: &&Hit| h.role == Role::Events && matches!(h.monitor.mode, Mode::Block | Mode::Warn);
    hits.iter().filter(in_force).flat_map(|h| h.monitor.labels.iter().cloned())
}
