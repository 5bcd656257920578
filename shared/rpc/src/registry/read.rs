//! Reads operations and events from descriptors.

use contracts_common::contract::v1 as contract;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, Value};

use super::{EventContract, Operation, Problem, operation::domain_of};

const OPERATION: &str = "runspine.contract.v1.operation";
const EVENT: &str = "runspine.contract.v1.event";

pub(super) struct Found {
    pub pool: DescriptorPool,
    pub operations: Vec<Operation>,
    pub events: Vec<EventContract>,
    pub problems: Vec<Problem>,
}

pub(super) fn read(sets: &[&[u8]], prefix: &str) -> Found {
    let mut problems = Vec::new();
    let mut pool = DescriptorPool::new();
    for (at, set) in sets.iter().enumerate() {
        // A file that several sets import is taken once.
        if let Err(e) = pool.decode_file_descriptor_set(*set) {
            problems.push(Problem::new(
                &format!("descriptor set {at}"),
                Problem::DESCRIPTOR_INVALID,
                e.to_string(),
            ));
        }
    }
    let (operations, missing) = operations(&pool, prefix);
    problems.extend(missing);
    let (events, unread) = events(&pool, prefix);
    problems.extend(unread);
    Found { pool, operations, events, problems }
}

fn operations(pool: &DescriptorPool, prefix: &str) -> (Vec<Operation>, Vec<Problem>) {
    let extension = pool.get_extension_by_name(OPERATION);
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for service in pool.services().filter(|s| s.package_name().starts_with(prefix)) {
        for method in service.methods() {
            let said = option::<contract::Operation>(&method.options(), extension.as_ref());
            let name = format!("{}/{}", service.full_name(), method.name());
            match said {
                Some(said) => {
                    problems.extend(unspecified(&name, &said));
                    found.push(Operation::new(&method, said));
                }
                None => {
                    problems.push(Problem::new(&name, Problem::CONTRACT_MISSING, "the RPC has no contract"))
                }
            }
        }
    }
    (found, problems)
}

fn unspecified(name: &str, said: &contract::Operation) -> Vec<Problem> {
    // The typed getters give 0 for a number that this version does not know, so both cases are caught here.
    let zero = [
        ("role", said.role() as i32),
        ("exposure", said.exposure() as i32),
        ("commit", said.commit() as i32),
        ("idempotency", said.idempotency() as i32),
    ];
    let bad = zero.into_iter().filter(|(_, value)| *value == 0);
    bad.map(|(field, _)| Problem::new(name, Problem::ENUM_UNSPECIFIED, format!("{field} is not stated")))
        .collect()
}

fn events(pool: &DescriptorPool, prefix: &str) -> (Vec<EventContract>, Vec<Problem>) {
    let Some(extension) = pool.get_extension_by_name(EVENT) else { return (Vec::new(), Vec::new()) };
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for message in pool.all_messages().filter(|m| m.package_name().starts_with(prefix)) {
        let Some(said) = option::<contract::Event>(&message.options(), Some(&extension)) else { continue };
        let ledger = said.ledger();
        if ledger == contract::Ledger::Unspecified {
            let what = "ledger is not stated";
            problems.push(Problem::new(message.full_name(), Problem::ENUM_UNSPECIFIED, what));
        }
        found.push(EventContract {
            name: said.name,
            version: said.version,
            ledger,
            message: message.full_name().to_owned(),
            domain: domain_of(message.package_name()),
        });
    }
    (found, problems)
}

fn option<M: prost::Message + Default>(
    options: &DynamicMessage,
    extension: Option<&ExtensionDescriptor>,
) -> Option<M> {
    let extension = extension?;
    if !options.has_extension(extension) {
        return None;
    }
    match options.get_extension(extension).as_ref() {
        Value::Message(message) => message.transcode_to().ok(),
        _ => None,
    }
}
