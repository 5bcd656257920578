//! What a domain answered, as documents in the JSON form of protobuf: one for each item of its lists, and one for the
//! rest. The form is read from the contracts, so nothing has to be said twice.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use contracts_logs::v1::ExportDocument;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value as Field,
};
use runspine_errors::{Fault, mesh};
use serde_json::{Map, Value, json};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut pool = DescriptorPool::new();
    let sets = [
        contracts_activity::DESCRIPTORS,
        contracts_controls::DESCRIPTORS,
        contracts_incidents::DESCRIPTORS,
        contracts_policies::DESCRIPTORS,
    ];
    for set in sets {
        if let Err(error) = pool.decode_file_descriptor_set(set) {
            tracing::error!(%error, "a domain's contracts can't be read; its answers have no documents");
        }
    }
    pool
});

/// The documents of an answer of type `name`.
///
/// # Errors
/// When the contracts do not know the type.
pub fn documents(name: &str, answer: &impl Message) -> Result<Vec<ExportDocument>, Fault> {
    let unknown = || Fault::new(&mesh::INTERNAL, format!("the contracts do not know {name}"));
    let descriptor = POOL.get_message_by_name(name).ok_or_else(unknown)?;
    let mut message = DynamicMessage::decode(descriptor.clone(), answer.encode_to_vec().as_slice())
        .map_err(|error| Fault::new(&mesh::INTERNAL, "an answer can't be read").caused_by(error))?;
    let mut documents = Vec::new();
    for field in descriptor.fields().filter(FieldDescriptor::is_list) {
        let Kind::Message(kind) = field.kind() else { continue };
        let Some(Field::List(items)) = message.take_field(&field) else { continue };
        documents.extend(items.iter().map(|item| document(kind.full_name(), value(item, &field.kind()))));
    }
    let rest = object(&message);
    if rest.as_object().is_some_and(|rest| !rest.is_empty()) {
        documents.push(document(name, rest));
    }
    Ok(documents)
}

fn document(name: &str, json: Value) -> ExportDocument {
    ExportDocument { r#type: name.to_owned(), json: json.to_string() }
}

fn object(message: &DynamicMessage) -> Value {
    if let Some(text) = well_known(message) {
        return text;
    }
    let fields = message.fields().map(|(field, set)| (field.json_name().to_owned(), shown(&field, set)));
    Value::Object(fields.collect())
}

/// Times and durations are texts.
fn well_known(message: &DynamicMessage) -> Option<Value> {
    match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => {
            let at: prost_types::Timestamp = message.transcode_to().ok()?;
            let at = jiff::Timestamp::new(at.seconds, at.nanos).ok()?;
            Some(at.to_string().into())
        }
        "google.protobuf.Duration" => {
            let lasts: prost_types::Duration = message.transcode_to().ok()?;
            Some(lasts.to_string().into())
        }
        _ => None,
    }
}

fn shown(field: &FieldDescriptor, set: &Field) -> Value {
    match set {
        Field::List(items) => items.iter().map(|item| value(item, &field.kind())).collect(),
        Field::Map(entries) => {
            let Kind::Message(entry) = field.kind() else { return Value::Null };
            let kind = entry.map_entry_value_field().kind();
            let entries = entries.iter().map(|(key, item)| {
                let key = match value(&key.clone().into(), &entry.map_entry_key_field().kind()) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, value(item, &kind))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        one => value(one, &field.kind()),
    }
}

/// Whole numbers of 64 bits are texts, so that no reader rounds them.
fn value(item: &Field, kind: &Kind) -> Value {
    match item {
        Field::Bool(is) => json!(is),
        Field::I32(n) => json!(n),
        Field::U32(n) => json!(n),
        Field::I64(n) => json!(n.to_string()),
        Field::U64(n) => json!(n.to_string()),
        Field::F32(n) => number(f64::from(*n)),
        Field::F64(n) => number(*n),
        Field::String(text) => json!(text),
        Field::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Field::EnumNumber(n) => match kind {
            Kind::Enum(names) => names.get_value(*n).map_or_else(|| json!(n), |found| json!(found.name())),
            _ => json!(n),
        },
        Field::Message(message) => object(message),
        Field::List(items) => items.iter().map(|item| value(item, kind)).collect(),
        // A map is shown with its field, which knows what its values are.
        Field::Map(_) => Value::Null,
    }
}

fn number(n: f64) -> Value {
    if n.is_finite() { json!(n) } else { json!(n.to_string()) }
}

#[cfg(test)]
mod tests {
    use contracts_incidents::v1::{Incident, ListRunIncidentsResponse, Occurrence, Severity};

    use super::*;

    #[test]
    fn each_item_of_a_list_is_a_document_and_reads_as_protobuf_says() {
        let incident = Incident {
            incident_id: "in-1".into(),
            seq: 9_007_199_254_740_993,
            severity: Severity::High.into(),
            source_step_index: Some(0),
            opened_at: Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 500_000_000 }),
            ..Incident::default()
        };
        let answer = ListRunIncidentsResponse {
            incidents: vec![incident],
            occurrences: vec![Occurrence::default(), Occurrence { voided: true, ..Occurrence::default() }],
            outcomes: vec![],
        };
        let documents = documents("runspine.incidents.v1.ListRunIncidentsResponse", &answer).unwrap();
        let types: Vec<&str> = documents.iter().map(|d| d.r#type.rsplit('.').next().unwrap()).collect();
        assert_eq!(types, ["Incident", "Occurrence", "Occurrence"]);
        let read: Value = serde_json::from_str(&documents[0].json).unwrap();
        let expected = json!({
            "incidentId": "in-1",
            "seq": "9007199254740993",
            "severity": "SEVERITY_HIGH",
            "sourceStepIndex": 0,
            "openedAt": "2026-01-02T03:04:05.5Z",
        });
        assert_eq!(read, expected);
        assert_eq!(documents[2].json, r#"{"voided":true}"#);
    }

    #[test]
    fn what_is_no_list_is_one_document() {
        let answer = contracts_policies::v1::GetRunPolicyEvidenceResponse {
            steps_observed: 3,
            complete: true,
            ..Default::default()
        };
        let name = "runspine.policies.v1.GetRunPolicyEvidenceResponse";
        let [rest] = documents(name, &answer).unwrap().try_into().unwrap();
        assert_eq!(
            (rest.r#type.as_str(), rest.json.as_str()),
            (name, r#"{"stepsObserved":3,"complete":true}"#)
        );
        assert!(documents("runspine.policies.v1.Nothing", &answer).is_err());
    }
}
