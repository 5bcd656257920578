//! Templates as messages, and what is asked to be made from them.

use contracts_policies::v1 as pb;
use runspine_errors::Violations;
use runspine_policies_domain::template::{self, Body, Fields, Origin, Parameter, Template};
use serde_json::{Value, json};

use crate::present_sequence;

/// A template as a message.
pub(crate) fn template(t: &'static Template) -> pb::Template {
    let (cedar, sequence_json) = match &t.body {
        Body::Cedar(text) => ((*text).to_owned(), String::new()),
        Body::Sequence(fields) => (String::new(), sequence(fields)),
    };
    pb::Template {
        template_id: t.id.to_owned(),
        title: t.title.to_owned(),
        description: t.description.to_owned(),
        rule_type: t.rule_type.code(),
        category: t.category.code(),
        parameters: t.parameters().map(parameter).collect(),
        cedar,
        sequence_json,
    }
}

/// The fields of a sequence as the JSON of its message, without those that are empty.
fn sequence(f: &Fields) -> String {
    let kind = format!("SEQUENCE_KIND_{}", f.kind.as_str());
    let max = if f.max == "0" { "" } else { f.max };
    let labels = if f.labels.is_empty() { String::new() } else { format!("{{{{{}}}}}", f.labels) };
    let scope = format!("STATE_SCOPE_{}", f.state_scope);
    let said = [
        ("kind", kind.as_str()),
        ("events", f.events),
        ("trigger", f.trigger),
        ("closes", f.closes),
        ("window", f.window),
        ("max", max),
        ("measure", f.measure),
        ("labels", &labels),
        ("stateScope", &scope),
        ("reason", "{{reason}}"),
        ("message", "{{message}}"),
        ("severity", f.severity),
    ];
    let said = said.into_iter().filter(|(_, text)| !text.is_empty());
    let field = |(name, text): (&str, &str)| {
        let value = if name == "labels" { json!([text]) } else { Value::from(text) };
        (name.to_owned(), value)
    };
    Value::Object(said.map(field).collect()).to_string()
}

fn parameter(p: Parameter) -> pb::TemplateParameter {
    let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let count = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    pb::TemplateParameter {
        name: p.name.to_owned(),
        r#type: p.kind.code(),
        description: p.description.to_owned(),
        min_values: count(p.count.least),
        max_values: count(p.count.most),
        least: p.range.least,
        most: p.range.most,
        choices: owned(p.choices),
        default_values: owned(p.default),
        example_values: owned(p.example),
    }
}

/// What a rule was made from, as a message.
pub(crate) fn body(origin: &Origin) -> pb::TemplateBody {
    let argument = |(name, values): (&String, &Vec<String>)| pb::TemplateArgument {
        name: name.clone(),
        values: values.clone(),
    };
    pb::TemplateBody {
        template_id: origin.template_id.clone(),
        arguments: origin.arguments.iter().map(argument).collect(),
        learned_from: origin.learned_from.clone(),
    }
}

/// What is asked to be made: the template, and the value of each of its parameters. Whatever is wrong goes to `v`.
pub(crate) fn asked(
    v: &mut Violations,
    field: &str,
    body: pb::TemplateBody,
) -> Option<(&'static Template, Origin)> {
    let found = template::find(&body.template_id);
    v.require(found.is_some(), &format!("{field}.template_id"), "UNKNOWN", "a template of ListTemplates");
    let given: Vec<_> = body.arguments.into_iter().map(|a| (a.name, a.values)).collect();
    let arguments = found?.values(&given, v, &format!("{field}.arguments"));
    let learned_from = body.learned_from;
    let fits = learned_from.len() <= 128 && !learned_from.contains(char::is_whitespace);
    v.require(
        fits,
        &format!("{field}.learned_from"),
        "OUT_OF_RANGE",
        "at most 128 characters without blanks",
    );
    found.zip(Some(Origin { arguments, learned_from, template_id: body.template_id }))
}

/// What was made before: nothing is checked again.
pub(crate) fn origin(body: pb::TemplateBody) -> Origin {
    let arguments = body.arguments.into_iter().map(|a| (a.name, a.values)).collect();
    Origin { arguments, learned_from: body.learned_from, template_id: body.template_id }
}

/// The content of a rule with the body that a template makes for it, and with what the template says of its kind where
/// the content says nothing.
pub(crate) fn written(c: pb::RuleContent, of: &'static Template, origin: &Origin) -> pb::RuleContent {
    let (mut cedar, mut sequence) = (String::new(), None);
    match of.expand(&c.slug, &origin.arguments).learned_from(&origin.learned_from) {
        template::Expanded::Cedar(text) => cedar = text,
        template::Expanded::Sequence(made) => sequence = Some(present_sequence::body(&made)),
    }
    let or = |said: i32, default: i32| if said == 0 { default } else { said };
    pb::RuleContent {
        cedar,
        sequence,
        category: or(c.category, of.category.code()),
        rule_type: or(c.rule_type, of.rule_type.code()),
        template: Some(body(origin)),
        ..c
    }
}
