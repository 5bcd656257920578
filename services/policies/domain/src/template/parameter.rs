//! What may be filled in at a place.

use runspine_errors::Violations;

use crate::{
    condition,
    sequence::{Head, Window},
    text::is_reason,
    words::TemplateValue,
};

/// The parameter of every template that is the rule's `@reason`.
pub(super) const REASON: &str = "reason";
/// The parameter of every template that is the rule's `@message`.
pub(super) const MESSAGE: &str = "message";

/// The least and the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least that fits.
    pub least: i64,
    /// The most that fits.
    pub most: i64,
}

/// What is to be filled in at the places of one name.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name of its places.
    pub name: &'static str,
    /// What it is for, with its unit.
    pub description: &'static str,
    /// What its values are.
    pub kind: TemplateValue,
    /// How many values it takes.
    pub count: Range,
    /// INTEGER: what a value may be; else how many bytes it may have.
    pub range: Range,
    /// WORD: what a value may be.
    pub choices: &'static [&'static str],
    /// What it is if nothing is given; empty: something must be given.
    pub default: &'static [&'static str],
    /// Values that fit.
    pub example: &'static [&'static str],
}

impl Parameter {
    const fn of(
        kind: TemplateValue,
        name: &'static str,
        description: &'static str,
        bytes: i64,
        default: &'static [&'static str],
    ) -> Self {
        let count = Range { least: 1, most: 1 };
        let range = Range { least: 1, most: bytes };
        Self { name, description, kind, count, range, choices: &[], default, example: default }
    }

    /// An integer.
    pub(super) const fn integer(
        name: &'static str,
        description: &'static str,
        (least, most): (i64, i64),
        default: &'static [&'static str],
    ) -> Self {
        let range = Range { least, most };
        Self { range, ..Self::of(TemplateValue::Integer, name, description, 0, default) }
    }

    /// One of a few words.
    pub(super) const fn word(
        name: &'static str,
        description: &'static str,
        choices: &'static [&'static str],
        default: &'static [&'static str],
    ) -> Self {
        Self { choices, ..Self::of(TemplateValue::Word, name, description, 64, default) }
    }

    /// A text of at most so many bytes.
    pub(super) const fn text(
        name: &'static str,
        description: &'static str,
        bytes: i64,
        default: &'static [&'static str],
    ) -> Self {
        Self::of(TemplateValue::Text, name, description, bytes, default)
    }

    /// The name of an argument, or a label.
    pub(super) const fn name(
        name: &'static str,
        description: &'static str,
        default: &'static [&'static str],
    ) -> Self {
        Self::of(TemplateValue::Name, name, description, 64, default)
    }

    /// What a text is compared with, `*` for anything.
    pub(super) const fn pattern(
        name: &'static str,
        description: &'static str,
        default: &'static [&'static str],
    ) -> Self {
        Self::of(TemplateValue::Pattern, name, description, 48, default)
    }

    /// A window of steps or time.
    pub(super) const fn window(
        name: &'static str,
        description: &'static str,
        default: &'static [&'static str],
    ) -> Self {
        Self::of(TemplateValue::Window, name, description, 32, default)
    }

    /// A Cedar head with its conditions.
    pub(super) const fn head(
        name: &'static str,
        description: &'static str,
        default: &'static [&'static str],
    ) -> Self {
        Self::of(TemplateValue::Head, name, description, 2_048, default)
    }

    /// A Cedar expression.
    pub(super) const fn condition(
        name: &'static str,
        description: &'static str,
        default: &'static [&'static str],
    ) -> Self {
        Self::of(TemplateValue::Condition, name, description, 4_096, default)
    }

    /// The same with as many values.
    pub(super) const fn up_to(self, most: i64) -> Self {
        Self { count: Range { least: 1, most }, ..self }
    }

    /// The same without a default: for example these values.
    pub(super) const fn such_as(self, example: &'static [&'static str]) -> Self {
        Self { default: &[], example, ..self }
    }

    pub(super) fn reason(default: &'static &'static str) -> Self {
        let description = "Code of the reason that the agent is given: [A-Z][A-Z0-9_]{2,63}.";
        Self::of(TemplateValue::Reason, REASON, description, 64, std::slice::from_ref(default))
    }

    pub(super) fn message(default: &'static &'static str) -> Self {
        let description = "What a person is told; name no value of an argument here.";
        Self::of(TemplateValue::Text, MESSAGE, description, 500, std::slice::from_ref(default))
    }

    /// Adds what is wrong with its values.
    pub(super) fn check(&self, values: &[String], v: &mut Violations, field: &str) {
        let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
        let Range { least, most } = self.count;
        let text = if most == 1 { "one value".to_owned() } else { format!("{least} to {most} values") };
        v.require((least..=most).contains(&count), field, "OUT_OF_RANGE", &text);
        let Range { least, most } = self.range;
        if self.kind == TemplateValue::Integer {
            let fits = |n: &String| {
                n.parse::<i64>().is_ok_and(|i| (least..=most).contains(&i) && i.to_string() == *n)
            };
            v.require(
                values.iter().all(fits),
                field,
                "OUT_OF_RANGE",
                &format!("an integer from {least} to {most}"),
            );
            return;
        }
        let fits = |value: &String| (least..=most).contains(&i64::try_from(value.len()).unwrap_or(i64::MAX));
        v.require(values.iter().all(fits), field, "OUT_OF_RANGE", &format!("{least} to {most} bytes"));
        if let Some(wrong) = values.iter().find_map(|value| self.wrong(value)) {
            v.add(field, "MALFORMED", wrong);
        }
    }

    /// What is wrong with the form of a value.
    fn wrong(&self, value: &str) -> Option<String> {
        let (fits, form) = match self.kind {
            TemplateValue::Integer | TemplateValue::Text | TemplateValue::Pattern => return None,
            TemplateValue::Word => (self.choices.contains(&value), self.choices.join(", ")),
            TemplateValue::Name => {
                (is_name(value), "words of [A-Za-z0-9_-] with dots between them".to_owned())
            }
            TemplateValue::Reason => (is_reason(value), "[A-Z][A-Z0-9_]{2,63}".to_owned()),
            TemplateValue::Window => (Window::parse(value).is_some(), "steps:n, time:s or run".to_owned()),
            TemplateValue::Head => return Head::parse(value).err(),
            TemplateValue::Condition => return condition::expression(value).err(),
        };
        (!fits).then_some(form)
    }
}

/// Whether a text is the name of an argument or a label: it needs no quotes and no escapes anywhere.
fn is_name(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    text.split('.').all(word)
}
