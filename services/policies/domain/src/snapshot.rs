//! The bytes of a snapshot: what a run is judged by, named by their digest.

use runspine_types::{Digest, Hasher, hash};

use crate::{SEMANTICS_VERSION, schema, settings::Settings};

/// A rule as a snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleRef {
    /// The rule.
    pub rule_id: String,
    /// Its version.
    pub version: u32,
    /// Its digest.
    pub digest: Digest,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotBody {
    /// The tenant; inside the bytes, so that equal rules of two tenants never share a digest.
    pub tenant_id: String,
    /// The schema that the rules fit.
    pub schema_digest: Digest,
    /// Version of the evaluator's meaning.
    pub semantics: u32,
    /// Rules that every tenant shares, by rule id.
    pub mesh: Vec<RuleRef>,
    /// The tenant's rules, by rule id.
    pub tenant: Vec<RuleRef>,
    /// The tenant's settings.
    pub settings: Settings,
}

const FORMAT: u32 = 1;

impl SnapshotBody {
    /// The body for a state: rules in any order.
    #[must_use]
    pub fn new(
        tenant_id: &str,
        mut mesh: Vec<RuleRef>,
        mut tenant: Vec<RuleRef>,
        settings: Settings,
    ) -> Self {
        mesh.sort();
        tenant.sort();
        Self {
            tenant_id: tenant_id.to_owned(),
            schema_digest: schema::digest(),
            semantics: SEMANTICS_VERSION,
            mesh,
            tenant,
            settings: settings.normalized(),
        }
    }

    /// The bytes that are stored and hashed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 96 * (self.mesh.len() + self.tenant.len()));
        out.extend(FORMAT.to_be_bytes());
        sized(&mut out, self.tenant_id.as_bytes());
        out.extend(self.schema_digest.as_bytes());
        out.extend(self.semantics.to_be_bytes());
        for layer in [&self.mesh, &self.tenant] {
            let list = layer_bytes(layer);
            out.extend(hash(&list).as_bytes());
            sized(&mut out, &list);
        }
        sized(&mut out, &serde_json::to_vec(&self.settings).unwrap_or_default());
        out
    }

    /// Reads stored bytes; `None` when they are not ours, or when a layer's digest does not fit its list.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u32()? != FORMAT {
            return None;
        }
        let tenant_id = String::from_utf8(reader.sized()?.to_vec()).ok()?;
        let schema_digest = reader.digest()?;
        let semantics = reader.u32()?;
        let mesh = reader.layer()?;
        let tenant = reader.layer()?;
        let settings = serde_json::from_slice(reader.sized()?).ok()?;
        reader.0.is_empty().then_some(Self { tenant_id, schema_digest, semantics, mesh, tenant, settings })
    }
}

/// The name of a snapshot: the digest of its bytes.
#[must_use]
pub fn snapshot_digest(bytes: &[u8]) -> Digest {
    Hasher::new("runspine.policyset.v1").sized(bytes).finish()
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_be_bytes());
    out.extend(bytes);
}

fn layer_bytes(rules: &[RuleRef]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + 80 * rules.len());
    out.extend((rules.len() as u64).to_be_bytes());
    for rule in rules {
        sized(&mut out, rule.rule_id.as_bytes());
        out.extend(rule.version.to_be_bytes());
        out.extend(rule.digest.as_bytes());
    }
    out
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<usize> {
        usize::try_from(u64::from_be_bytes(self.take(8)?.try_into().ok()?)).ok()
    }

    fn digest(&mut self) -> Option<Digest> {
        Digest::from_slice(self.take(32)?)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let n = self.u64()?;
        self.take(n)
    }

    fn layer(&mut self) -> Option<Vec<RuleRef>> {
        let digest = self.digest()?;
        let list = self.sized()?;
        if hash(list) != digest {
            return None;
        }
        let mut list = Reader(list);
        let count = list.u64()?;
        let rules: Option<Vec<_>> = (0..count).map(|_| list.rule()).collect();
        rules.filter(|_| list.0.is_empty())
    }

    fn rule(&mut self) -> Option<RuleRef> {
        let rule_id = String::from_utf8(self.sized()?.to_vec()).ok()?;
        Some(RuleRef { rule_id, version: self.u32()?, digest: self.digest()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Profile;

    fn rule(n: u8) -> RuleRef {
        RuleRef { rule_id: format!("rule-{n}"), version: u32::from(n), digest: Digest([n; 32]) }
    }

    #[test]
    fn equal_states_have_equal_bytes_and_bytes_read_back() {
        let settings = Settings::of(Profile::Standard);
        let a = SnapshotBody::new("t", vec![rule(9)], vec![rule(2), rule(1)], settings.clone());
        let b = SnapshotBody::new("t", vec![rule(9)], vec![rule(1), rule(2)], settings.clone());
        assert_eq!(a.bytes(), b.bytes());
        assert_eq!(SnapshotBody::from_bytes(&a.bytes()), Some(a.clone()));
        let other = SnapshotBody::new("u", vec![rule(9)], vec![rule(1), rule(2)], settings);
        assert_ne!(snapshot_digest(&a.bytes()), snapshot_digest(&other.bytes()));
    }

    #[test]
    fn every_flipped_byte_changes_the_digest_and_most_do_not_read_back() {
        let body = SnapshotBody::new("t", vec![rule(9)], vec![rule(1)], Settings::of(Profile::Strict));
        let bytes = body.bytes();
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert_ne!(snapshot_digest(&bad), snapshot_digest(&bytes));
            assert_ne!(SnapshotBody::from_bytes(&bad), Some(body.clone()));
        }
    }
}
