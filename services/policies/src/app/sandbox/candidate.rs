//! From what is asked for to a compiled candidate.

use std::sync::Arc;

use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    rule::Meaning,
    sandbox::candidate::{Change, Maker, Overlay, compile, overlay},
};
use runspine_types::Digest;

use crate::app::{App, Who, cache::LoadError, rules::not_found};

/// A candidate as it is asked for, parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct AskCandidate {
    /// None: what is in force.
    pub base: Option<Digest>,
    pub changes: Vec<AskChange>,
}

/// A change as it is asked for.
#[derive(Debug, Clone)]
pub(crate) enum AskChange {
    /// Complete as it is.
    Ready(Box<Change>),
    /// A stored version of a rule.
    Version(String, u32),
}

/// A candidate that can decide.
pub(crate) struct Candidate {
    pub base: Digest,
    pub overlay: Overlay,
    pub compiled: Arc<CompiledSnapshot>,
}

impl App {
    /// Finds what the candidate starts from, applies its changes and compiles it.
    pub(crate) async fn candidate(&self, who: &Who, ask: AskCandidate) -> Result<Candidate, Fault> {
        let base = match ask.base {
            None => self.active(who).await?.compiled,
            Some(digest) => {
                let found = self.cache.snapshot(&self.db, &who.tenant, digest).await;
                found.map_err(LoadError::into_fault)?
            }
        };
        let mut changes = Vec::with_capacity(ask.changes.len());
        for change in ask.changes {
            changes.push(match change {
                AskChange::Ready(change) => *change,
                AskChange::Version(rule_id, version) => {
                    let row = self.read_version(who, &rule_id, version).await?;
                    let meaning = Meaning::from_bytes(&row.meaning).ok_or_else(not_found)?;
                    Change::Version(Box::new(meaning))
                }
            });
        }
        let maker = Maker { tenant: &who.tenant, operator: who.operator };
        let overlay = overlay(&base, changes, maker)?;
        let compiled = Arc::new(compile(&base, &overlay, &who.tenant)?);
        Ok(Candidate { base: base.digest, overlay, compiled })
    }
}
