//! The words of replays are those of logs, number for number: what logs keeps is handed on as it is.

use prost::Message;
use runspine_errors::{Fault, mesh};
use runspine_rpc::status;
use tonic::Status;

/// The same message in the other package. Fields that the other one doesn't have are left out.
pub(super) fn same<A: Message, B: Message + Default>(message: &A) -> Result<B, Status> {
    B::decode(message.encode_to_vec().as_slice()).map_err(|error| {
        status(Fault::new(&mesh::INTERNAL, "the words of replays have come apart").caused_by(error))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

    /// Messages that have the same fields, in logs and in the spine.
    const SAME: [(&str, &str); 7] = [
        ("Replay", "Replay"),
        ("ReplayPlanStep", "ReplayPlanStep"),
        ("ReplayedStep", "ReplayedStep"),
        ("GetReplayRequest", "GetReplayRequest"),
        ("GetReplayResponse", "GetReplayResponse"),
        ("ListReplaysRequest", "ListReplaysRequest"),
        ("ListReplaysResponse", "ListReplaysResponse"),
    ];

    fn pool(descriptors: &[u8]) -> DescriptorPool {
        DescriptorPool::decode(descriptors).unwrap()
    }

    /// A field without the package that its type is of.
    fn shape(field: &FieldDescriptor) -> (u32, String, String, bool) {
        let kind = match field.kind() {
            Kind::Message(message) => message.name().to_owned(),
            Kind::Enum(words) => words.name().to_owned(),
            plain => format!("{plain:?}"),
        };
        (field.number(), field.name().to_owned(), kind, field.is_list())
    }

    fn values(words: &EnumDescriptor) -> Vec<(i32, String)> {
        words.values().map(|value| (value.number(), value.name().to_owned())).collect()
    }

    fn assert_same(logs: &MessageDescriptor, spine: &MessageDescriptor, seen: &mut BTreeSet<String>) {
        if !seen.insert(logs.name().to_owned()) {
            return;
        }
        let shapes = |of: &MessageDescriptor| of.fields().map(|f| shape(&f)).collect::<BTreeSet<_>>();
        assert_eq!(shapes(logs), shapes(spine), "{}", logs.name());
        for (left, right) in logs.fields().zip(spine.fields()) {
            match (left.kind(), right.kind()) {
                (Kind::Message(left), Kind::Message(right)) => assert_same(&left, &right, seen),
                (Kind::Enum(left), Kind::Enum(right)) => assert_eq!(values(&left), values(&right)),
                _ => {}
            }
        }
    }

    #[test]
    fn the_words_of_both_packages_are_the_same() {
        let (logs, spine) = (pool(contracts_logs::DESCRIPTORS), pool(contracts_spine::DESCRIPTORS));
        let mut seen = BTreeSet::new();
        let of = |pool: &DescriptorPool, package: &str, name: &str| {
            pool.get_message_by_name(&format!("runspine.{package}.v1.{name}")).unwrap()
        };
        for (left, right) in SAME {
            assert_same(&of(&logs, "logs", left), &of(&spine, "spine", right), &mut seen);
        }
        assert!(seen.len() > 11, "{seen:?}");
        // An answer of logs is the beginning of the coordinator's.
        let answer = of(&logs, "logs", "CheckReplayStepsResponse");
        let whole = of(&spine, "spine", "ReplayStepsResponse");
        for field in answer.fields() {
            let other = whole.get_field(field.number()).unwrap();
            assert_eq!(shape(&field), shape(&other));
        }
    }
}
