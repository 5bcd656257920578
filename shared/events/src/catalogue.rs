//! The event catalogue: which messages are events, under which name and version, and whether they are for the ledger.

use std::collections::BTreeMap;

use contracts_common::contract::v1::Ledger;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};

/// The option that marks a message as an event.
const OPTION: &str = "runspine.contract.v1.event";

/// What an event promises, read from its message's `runspine.contract.v1.event` option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventContract {
    /// Its name, `<domain>.<Event>`.
    pub name: String,
    /// Version of the data's schema, `major.minor.patch`.
    pub version: String,
    /// Whether it belongs on the governance ledger, and under which scope.
    pub ledger: Ledger,
    /// Full name of the message that holds its data.
    pub data_type: String,
}

/// Descriptors that describe no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The bytes are no descriptor set.
    #[error("the descriptor set can't be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// An event's option is incomplete or wrong.
    #[error("event message {message}: {what}")]
    Event {
        /// Full name of the message.
        message: String,
        /// What is wrong.
        what: String,
    },
}

/// All events of one or more domains, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    events: BTreeMap<String, EventContract>,
}

impl Catalogue {
    /// Reads the events out of an encoded descriptor set.
    ///
    /// # Errors
    /// When the set can't be read, an event is incomplete, or two events have one name.
    pub fn from_descriptors(descriptors: &[u8]) -> Result<Self, CatalogueError> {
        let pool = DescriptorPool::decode(descriptors)?;
        // A set that does not know the option has no events.
        let Some(option) = pool.get_extension_by_name(OPTION) else { return Ok(Self::default()) };
        let mut catalogue = Self::default();
        for message in pool.all_messages() {
            let options = message.options();
            if !options.has_extension(&option) {
                continue;
            }
            let found = options.get_extension(&option).into_owned();
            let contract = contract(message.full_name(), &found)
                .map_err(|what| CatalogueError::Event { message: message.full_name().to_owned(), what })?;
            catalogue.add(contract)?;
        }
        Ok(catalogue)
    }

    /// Adds the events of another domain.
    ///
    /// # Errors
    /// When two events have one name.
    pub fn extend(&mut self, other: Self) -> Result<(), CatalogueError> {
        other.events.into_values().try_for_each(|contract| self.add(contract))
    }

    fn add(&mut self, contract: EventContract) -> Result<(), CatalogueError> {
        let message = contract.data_type.clone();
        match self.events.insert(contract.name.clone(), contract) {
            Some(other) if other.data_type != message => {
                let what = format!("its name is that of {}", other.data_type);
                Err(CatalogueError::Event { message, what })
            }
            _ => Ok(()),
        }
    }

    /// The contract of the event `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&EventContract> {
        self.events.get(name)
    }

    /// All contracts in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &EventContract> {
        self.events.values()
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

fn contract(data_type: &str, option: &Value) -> Result<EventContract, String> {
    let option: &DynamicMessage = option.as_message().ok_or("its option is no message")?;
    let text = |field: &str| {
        option.get_field_by_name(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let (name, version) = (text("name"), text("version"));
    let number = option.get_field_by_name("ledger").and_then(|v| v.as_enum_number()).unwrap_or_default();
    let ledger = Ledger::try_from(number).map_err(|_| format!("ledger {number} is not known"))?;
    if ledger == Ledger::Unspecified {
        return Err("it does not say whether it is for the ledger".to_owned());
    }
    let domain =
        data_type.strip_prefix("runspine.").and_then(|rest| rest.split('.').next()).unwrap_or_default();
    let short = name.strip_prefix(domain).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    if short.is_empty() || short.contains('.') {
        return Err(format!("its name {name:?} is not `{domain}.<Event>`"));
    }
    let numbers = version.split('.').filter(|part| part.parse::<u32>().is_ok()).count();
    if numbers != 3 || version.split('.').count() != 3 {
        return Err(format!("its version {version:?} is not `major.minor.patch`"));
    }
    Ok(EventContract { name, version, ledger, data_type: data_type.to_owned() })
}
