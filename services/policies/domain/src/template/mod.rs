//! Templates: rule texts with places to fill in. What is made from one is an ordinary rule that holds its whole text, so
//! that another wording of the template changes no rule that exists.

mod catalogue;
mod fill;
mod parameter;

use std::collections::BTreeMap;

use runspine_errors::Violations;
use serde::{Deserialize, Serialize};

pub use catalogue::TEMPLATES;
pub use fill::places;
pub use parameter::{Parameter, Range};

use crate::{
    sequence::Sequence,
    text::quoted,
    words::{Category, RuleType, SequenceKind, StateScope, TemplateValue},
};

/// The name that every text may use for the slug of the rule that it becomes.
pub const SLUG: &str = "slug";

/// A rule with places to fill in.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    /// Its name, upper case: it never changes its meaning.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What a rule made from it does.
    pub description: &'static str,
    /// The kind of the rules made from it.
    pub rule_type: RuleType,
    /// What they are about.
    pub category: Category,
    /// Default of `reason`.
    pub reason: &'static str,
    /// Default of `message`.
    pub message: &'static str,
    /// What is to be filled in, besides `reason` and `message`.
    pub own: &'static [Parameter],
    /// The text.
    pub body: Body,
}

/// What is filled in.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// A Cedar policy.
    Cedar(&'static str),
    /// The fields of a sequence.
    Sequence(Fields),
}

/// The fields of a sequence, each with places; the rest of a sequence is empty.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// What is asked.
    pub kind: SequenceKind,
    /// The events.
    pub events: &'static str,
    /// What is restricted; empty: the events.
    pub trigger: &'static str,
    /// What closes the events; empty: nothing.
    pub closes: &'static str,
    /// How far back it looks.
    pub window: &'static str,
    /// How much may be.
    pub max: &'static str,
    /// What is summed up.
    pub measure: &'static str,
    /// The parameter that holds the labels; empty: none.
    pub labels: &'static str,
    /// Whose steps one state is about.
    pub state_scope: &'static str,
    /// How bad it is.
    pub severity: &'static str,
}

impl Fields {
    /// A sequence that says nothing yet.
    const OF: Self = Self {
        kind: SequenceKind::CountInWindow,
        events: "{{events}}",
        trigger: "",
        closes: "",
        window: "",
        max: "0",
        measure: "",
        labels: "",
        state_scope: "RUN",
        severity: "MEDIUM",
    };
}

/// The value of each parameter of a template, by its name; every default is filled in.
pub type Values = BTreeMap<String, Vec<String>>;

/// From what a rule was made. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The values.
    pub arguments: Values,
    /// The lesson, incident or pattern that the rule was learned from; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub learned_from: String,
    /// The template.
    pub template_id: String,
}

/// What a template was expanded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expanded {
    /// A Cedar text.
    Cedar(String),
    /// The body of a sequence rule.
    Sequence(Box<Sequence>),
}

impl Expanded {
    /// The same with the id of what the rule was learned from as its `@origin`; empty: nothing.
    #[must_use]
    pub fn learned_from(self, origin: &str) -> Self {
        match self {
            made if origin.is_empty() => made,
            Self::Cedar(text) => Self::Cedar(format!("@origin({})\n{text}", quoted(origin))),
            Self::Sequence(body) => Self::Sequence(Box::new(Sequence { origin: origin.to_owned(), ..*body })),
        }
    }
}

/// The template of a name.
#[must_use]
pub fn find(id: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|t| t.id == id)
}

impl Template {
    /// What is to be filled in: its own parameters, and what every rule tells.
    pub fn parameters(&'static self) -> impl Iterator<Item = Parameter> {
        let told = [Parameter::reason(&self.reason), Parameter::message(&self.message)];
        self.own.iter().copied().chain(told)
    }

    /// Every text with places that it is made of.
    #[must_use]
    pub fn texts(&self) -> Vec<&'static str> {
        match &self.body {
            Body::Cedar(text) => vec![text],
            Body::Sequence(f) => {
                vec![f.events, f.trigger, f.closes, f.window, f.max, f.measure, f.state_scope]
            }
        }
    }

    /// The value of each parameter; whatever is wrong with what was given goes to `v`, under `field`.
    pub fn values(&'static self, given: &[(String, Vec<String>)], v: &mut Violations, field: &str) -> Values {
        let mut values = Values::new();
        for (name, value) in given {
            let place = format!("{field}.{name}");
            let known = self.parameters().any(|p| p.name == name);
            v.require(known, &place, "UNKNOWN", "a parameter of the template");
            let first = values.insert(name.clone(), value.clone()).is_none();
            v.require(first, &place, "NOT_UNIQUE", "each parameter once");
        }
        for parameter in self.parameters() {
            let value = values
                .entry(parameter.name.to_owned())
                .or_insert_with(|| parameter.default.iter().map(|d| (*d).to_owned()).collect());
            parameter.check(value, v, &format!("{field}.{}", parameter.name));
        }
        values
    }

    /// The rule that it makes for a slug with these values, which [`Template::values`] found nothing wrong with.
    #[must_use]
    pub fn expand(&'static self, slug: &str, values: &Values) -> Expanded {
        let fill = |text: &str| fill::fill(text, self, slug, values);
        match &self.body {
            Body::Cedar(text) => Expanded::Cedar(fill(text)),
            Body::Sequence(f) => Expanded::Sequence(Box::new(Sequence {
                block_until: String::new(),
                closes: fill(f.closes),
                count_denied: false,
                events: fill(f.events),
                kind: f.kind,
                labels: values.get(f.labels).cloned().unwrap_or_default(),
                max: fill(f.max).parse().unwrap_or(0),
                measure: fill(f.measure),
                message: values.get(parameter::MESSAGE).map(|m| m.concat()).unwrap_or_default(),
                obligations: String::new(),
                origin: String::new(),
                outcome: String::new(),
                reason: values.get(parameter::REASON).map(|r| r.concat()).unwrap_or_default(),
                run: String::new(),
                severity: f.severity.to_owned(),
                state_scope: StateScope::from_text(&fill(f.state_scope)).unwrap_or(StateScope::Run),
                trigger: fill(f.trigger),
                violation: String::new(),
                window: fill(f.window),
            })),
        }
    }

    /// What the values of a parameter are.
    fn kind_of(&'static self, name: &str) -> Option<TemplateValue> {
        self.parameters().find(|p| p.name == name).map(|p| p.kind)
    }
}
