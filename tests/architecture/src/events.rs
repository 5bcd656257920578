//! The event catalogue: what is published has a name, is described, and is really published.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, FileDescriptor, Kind, MessageDescriptor};

use crate::{Inspection, Source};

const OPTION: &str = "runspine.contract.v1.event";

/// Every event message is named `<domain>.<Event>` after its package and itself, and every other message of an events
/// file is used by something. Inspects messages.
///
/// # Errors
/// When the descriptors can't be read.
pub fn names(descriptors: &[&[u8]]) -> Result<Inspection, String> {
    let mut seen = Inspection::default();
    for message in messages(descriptors)? {
        let domain = domain(&message.parent_file());
        match event_name(&message) {
            Some(name) => {
                let expected = format!("{domain}.{}", message.name());
                seen.require(name == expected, || {
                    format!("{} is called {name:?}, not {expected}", message.full_name())
                });
            }
            None if is_events_file(&message.parent_file()) && !message.is_map_entry() => {
                let used = is_used(&message);
                seen.require(used, || format!("{} is no event and no part of anything", message.full_name()));
            }
            None => {}
        }
    }
    Ok(seen)
}

/// Every event of the catalogue is made somewhere in the service that owns it. Inspects events.
///
/// # Errors
/// When the descriptors can't be read.
pub fn published(descriptors: &[&[u8]], tree: &[Source]) -> Result<Inspection, String> {
    let mut seen = Inspection::default();
    for message in messages(descriptors)?.into_iter().filter(|m| event_name(m).is_some()) {
        let folder = format!("services/{}", domain(&message.parent_file()));
        let mut code = tree.iter().filter(|s| s.is_in(&folder) && s.ends_with(".rs") && !s.is_test());
        let made = code.any(|s| s.code().iter().any(|(_, line)| has_word(line, message.name())));
        seen.require(made, || format!("{} is published by nobody", message.full_name()));
    }
    Ok(seen)
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

fn messages(descriptors: &[&[u8]]) -> Result<Vec<MessageDescriptor>, String> {
    let mut pool = DescriptorPool::new();
    for set in descriptors {
        pool.decode_file_descriptor_set(*set).map_err(|e| e.to_string())?;
    }
    let mut names = BTreeSet::new();
    let own = |m: &MessageDescriptor| m.package_name().starts_with("runspine.");
    Ok(pool.all_messages().filter(own).filter(|m| names.insert(m.full_name().to_owned())).collect())
}

fn event_name(message: &MessageDescriptor) -> Option<String> {
    let option = message.parent_pool().get_extension_by_name(OPTION)?;
    let options = message.options();
    if !options.has_extension(&option) {
        return None;
    }
    let value = options.get_extension(&option);
    let name = value.as_message()?.get_field_by_name("name")?;
    Some(name.as_str()?.to_owned())
}

fn domain(file: &FileDescriptor) -> String {
    file.package_name().split('.').nth(1).unwrap_or_default().to_owned()
}

fn is_events_file(file: &FileDescriptor) -> bool {
    file.name().rsplit('/').next().is_some_and(|name| name.starts_with("events"))
}

fn is_used(message: &MessageDescriptor) -> bool {
    let uses = |other: &MessageDescriptor| {
        other
            .fields()
            .any(|field| matches!(field.kind(), Kind::Message(m) if m.full_name() == message.full_name()))
    };
    let pool = message.parent_pool();
    // The service that hands events out may lie in the same file.
    let asked = pool
        .services()
        .flat_map(|s| s.methods().collect::<Vec<_>>())
        .any(|method| [method.input(), method.output()].iter().any(|m| m.full_name() == message.full_name()));
    asked || pool.all_messages().any(|other| other.full_name() != message.full_name() && uses(&other))
}
