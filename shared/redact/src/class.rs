//! What was taken out.

use std::collections::BTreeMap;

/// Why a piece of text was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A private key in PEM.
    PrivateKey,
    /// A JSON Web Token.
    Jwt,
    /// Credentials of an HTTP header.
    Bearer,
    /// A key of a cloud or a provider.
    CloudKey,
    /// A password in a URL.
    UrlPassword,
    /// A secret that is assigned to a name.
    Assignment,
    /// An e-mail address.
    Email,
    /// A social security number.
    Ssn,
    /// An international phone number.
    Phone,
    /// A payment card.
    Card,
    /// A bank account.
    Iban,
    /// The value of a sensitive key.
    Key,
    /// More levels than are looked at.
    Depth,
    /// More bytes than are looked at.
    Size,
}

impl Class {
    /// The name that stands in the text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "SECRET.PRIVATE_KEY",
            Self::Jwt => "SECRET.JWT",
            Self::Bearer => "SECRET.BEARER",
            Self::CloudKey => "SECRET.CLOUD_KEY",
            Self::UrlPassword => "SECRET.URL_PASSWORD",
            Self::Assignment => "SECRET.ASSIGNMENT",
            Self::Email => "PII.EMAIL",
            Self::Ssn => "PII.SSN",
            Self::Phone => "PII.PHONE",
            Self::Card => "PII.CARD",
            Self::Iban => "PII.IBAN",
            Self::Key => "KEY",
            Self::Depth => "DEPTH",
            Self::Size => "SIZE",
        }
    }

    /// What stands in the place of what was taken out.
    #[must_use]
    pub fn marker(self) -> String {
        format!("[REDACTED:{}]", self.name())
    }
}

/// How many pieces of each class were taken out. Where they were is not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Class, u32>);

impl Counts {
    /// One more of `class`.
    pub(crate) fn add(&mut self, class: Class) {
        let count = self.0.entry(class).or_default();
        *count = count.saturating_add(1);
    }

    /// Those of `other` too.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (class, more) in &other.0 {
            let count = self.0.entry(*class).or_default();
            *count = count.saturating_add(*more);
        }
    }

    /// Whether nothing was taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of `class`.
    #[must_use]
    pub fn of(&self, class: Class) -> u32 {
        self.0.get(&class).copied().unwrap_or(0)
    }

    /// Every class with its count, in the order of the classes.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u32)> + '_ {
        self.0.iter().map(|(class, count)| (*class, *count))
    }
}
