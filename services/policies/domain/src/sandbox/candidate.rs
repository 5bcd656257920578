//! A candidate: a snapshot with changes, compiled as a snapshot and never bound to a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use runspine_errors::{Fault, mesh};
use serde::{Deserialize, Serialize};

use crate::{
    compile::{BASELINE_ID, CompiledRule, CompiledSnapshot},
    reasons,
    rule::{Content, Identity, Meaning, check_content, check_protected, meaning_of, rule_digest},
    sequence::MAX_RULES,
    slice::MAX_SLICE,
    snapshot::{RuleRef, SnapshotBody, snapshot_digest},
    text,
    words::{Category, Mode, Scope},
};

/// The most changes of a candidate.
pub const MAX_CHANGES: usize = 100;

/// One difference, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A rule that does not exist yet.
    Create(Content),
    /// Another content for a rule.
    Replace(String, Content),
    /// A rule goes out of force.
    Retire(String),
    /// A rule counts otherwise.
    Mode(String, Mode),
    /// A stored version comes into force.
    Version(Box<Meaning>),
}

/// What makes a candidate out of the snapshot that it starts from: all that is stored of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Rules that are added or take the place of those with their ids, by rule id.
    pub put: Vec<Meaning>,
    /// Ids of rules that are taken out, in order.
    pub removed: Vec<String>,
}

impl Overlay {
    /// The bytes that are stored.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// For whom a candidate is made.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Whether rules of the mesh may be changed.
    pub operator: bool,
}

/// What the changes come to on top of `base`.
///
/// # Errors
/// RULE_NOT_FOUND, SLUG_TAKEN, SYSTEM_RULE_PROTECTED, and what is wrong with the content of a rule.
pub fn overlay(base: &CompiledSnapshot, changes: Vec<Change>, maker: Maker<'_>) -> Result<Overlay, Fault> {
    if changes.len() > MAX_CHANGES {
        let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
        return Err(fault.field("candidate.changes", "OUT_OF_RANGE", "at most 100 changes"));
    }
    let (mut made, mut touched) = (Overlay::default(), BTreeSet::new());
    for change in changes {
        let id = apply(base, change, maker, &mut made)?;
        if !touched.insert(id.clone()) {
            let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
            return Err(fault.field("candidate.changes", "DUPLICATE", format!("{id} is changed twice")));
        }
    }
    made.put.sort_by(|a, b| a.rule_id.cmp(&b.rule_id));
    made.removed.sort();
    Ok(made)
}

fn apply(
    base: &CompiledSnapshot,
    change: Change,
    maker: Maker<'_>,
    made: &mut Overlay,
) -> Result<String, Fault> {
    let put = |made: &mut Overlay, meaning: Meaning| {
        let id = meaning.rule_id.clone();
        // A rule that is switched off is not in a snapshot.
        if meaning.mode == Mode::Disabled {
            made.removed.push(id.clone())
        } else {
            made.put.push(meaning)
        }
        id
    };
    let own = |id: &str| -> Result<&Arc<CompiledRule>, Fault> {
        let found = base.rules.iter().find(|r| r.meaning.rule_id == id && id != BASELINE_ID);
        let rule = found.ok_or_else(|| not_found(id))?;
        let system = rule.meaning.is_mesh() || rule.meaning.category == Category::System;
        check_protected(system, maker.operator)?;
        Ok(rule)
    };
    match change {
        Change::Create(content) => {
            check_content(&content, maker.tenant, maker.operator)?;
            let mesh_layer = content.scope == Some(Scope::Global);
            let taken =
                |r: &&Arc<CompiledRule>| r.meaning.slug == content.slug && r.meaning.is_mesh() == mesh_layer;
            if base.rules.iter().any(|r| taken(&r)) {
                let text = "another rule of this layer has this slug";
                return Err(Fault::new(&reasons::SLUG_TAKEN, text).with("slug", &content.slug));
            }
            let rule_id = format!("candidate.{}", content.slug);
            let identity = Identity { rule_id: &rule_id, version: 0, tenant: maker.tenant };
            Ok(put(made, meaning_of(content, identity, base.settings.default_rule_mode)?))
        }
        Change::Replace(id, content) => {
            let rule = own(&id)?;
            check_content(&content, maker.tenant, maker.operator)?;
            if rule.meaning.slug != content.slug
                || rule.meaning.is_mesh() != (content.scope == Some(Scope::Global))
            {
                let fault = Fault::new(&mesh::FIELD_INVALID, "slug and layer of a rule can't change");
                return Err(fault.field(
                    "candidate.changes.replace.content.slug",
                    "IMMUTABLE",
                    "that of the rule",
                ));
            }
            let identity = Identity { rule_id: &id, version: 0, tenant: maker.tenant };
            Ok(put(made, meaning_of(content, identity, base.settings.default_rule_mode)?))
        }
        Change::Retire(id) => {
            own(&id)?;
            made.removed.push(id.clone());
            Ok(id)
        }
        Change::Mode(id, mode) => {
            let rule = own(&id)?;
            if rule.is_grant() && mode == Mode::Warn {
                return Err(crate::rule::warn_on_grant("candidate.changes.mode.mode"));
            }
            Ok(put(made, Meaning { mode, version: 0, ..rule.meaning.clone() }))
        }
        Change::Version(meaning) => {
            let system = meaning.is_mesh() || meaning.category == Category::System;
            check_protected(system, maker.operator)?;
            Ok(put(made, *meaning))
        }
    }
}

fn not_found(id: &str) -> Fault {
    let text = "the snapshot that the candidate starts from has no such rule";
    Fault::new(&reasons::RULE_NOT_FOUND, text).with("rule_id", id)
}

/// Compiles a candidate as a snapshot is compiled. Without changes it is the snapshot that it starts from, under its name.
///
/// # Errors
/// FINDINGS_BLOCKING when a text can't be activated, SLICE_TOO_LARGE when too many rules would meet.
pub fn compile(base: &CompiledSnapshot, overlay: &Overlay, tenant: &str) -> Result<CompiledSnapshot, Fault> {
    let gone = |id: &str| {
        id == BASELINE_ID
            || overlay.removed.iter().any(|r| r == id)
            || overlay.put.iter().any(|m| m.rule_id == id)
    };
    let mut rules: Vec<Arc<CompiledRule>> =
        base.rules.iter().filter(|r| !gone(&r.meaning.rule_id)).map(Arc::clone).collect();
    let mut fresh = Vec::with_capacity(overlay.put.len());
    for meaning in &overlay.put {
        let digest = rule_digest(&meaning.bytes());
        let rule = CompiledRule::new(meaning.clone(), digest).map_err(|_| {
            let found = meaning.check();
            text::blocking(&found)
        })?;
        fresh.push(Arc::new(rule));
    }
    rules.extend(fresh.iter().map(Arc::clone));
    let named = |mesh: bool| {
        let of_layer = rules.iter().filter(move |r| r.meaning.is_mesh() == mesh);
        let one = |r: &Arc<CompiledRule>| RuleRef {
            rule_id: r.meaning.rule_id.clone(),
            version: r.meaning.version,
            digest: r.digest,
        };
        of_layer.map(one).collect::<Vec<_>>()
    };
    let body = SnapshotBody::new(tenant, named(true), named(false), base.settings.clone());
    let digest = snapshot_digest(&body.bytes());
    let compiled = CompiledSnapshot::new(digest, body.settings, rules).map_err(|what| {
        Fault::new(&reasons::SNAPSHOT_INVALID, format!("the candidate can't be compiled: {what}"))
    })?;
    if compiled.watching_rules().filter(|r| !r.meaning.is_mesh()).count() > MAX_RULES {
        return Err(crate::rule::sequence_quota());
    }
    let largest = fresh.iter().map(|r| compiled.slice_bound(r)).max().unwrap_or(0);
    if largest > MAX_SLICE {
        let text = format!("a slice would hold more than {MAX_SLICE} rules");
        return Err(Fault::new(&reasons::SLICE_TOO_LARGE, text).with("rules", largest));
    }
    Ok(compiled)
}
