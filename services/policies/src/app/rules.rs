//! Rules as they are shown, and the words for what was done to them.

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_policies_domain::{reasons, rule::Meaning, words::RuleState};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::unreadable;
use crate::store::rules::{TransitionRow, VersionRow};

/// Refused: there is no such rule or version.
pub(crate) fn not_found() -> Fault {
    Fault::new(&reasons::RULE_NOT_FOUND, "there is no such rule, or it has no such version")
}

/// A stored version as a message.
pub(crate) fn present(row: &VersionRow, state: RuleState, revision: u64) -> Result<pb::Rule, Fault> {
    let meaning: Meaning = serde_json::from_slice(&row.meaning).map_err(unreadable)?;
    let made_from = match row.template.as_str() {
        "" => None,
        json => Some(crate::present_template::body(&serde_json::from_str(json).map_err(unreadable)?)),
    };
    let time = |at: Option<i64>| at.map(|at| timestamp(Micros(at)));
    Ok(pb::Rule {
        rule_id: row.rule_id.clone(),
        mesh_layer: meaning.is_mesh(),
        slug: meaning.slug,
        version: row.version,
        state: state.code(),
        name: row.name.clone(),
        description: row.description.clone(),
        cedar: meaning.cedar,
        scope: row.scope,
        scope_id: meaning.scope_id,
        mode: row.mode,
        category: row.category,
        rule_type: row.rule_type,
        precedence: meaning.precedence,
        effective_from: time(meaning.effective_from),
        effective_until: time(meaning.effective_until),
        source: row.source,
        parent_version: row.parent_version,
        author: Some(contracts_common::common::v1::Actor {
            r#type: row.author_type,
            id: row.author_id.clone(),
        }),
        created_at: Some(timestamp(row.created_at)),
        rule_digest: row.rule_digest.to_vec().into(),
        revision,
        proposal_id: row.proposal_id.clone(),
        lesson_id: row.lesson_id.clone(),
        sequence: meaning.sequence.as_ref().map(crate::present_sequence::body),
        template: made_from,
    })
}

/// A stored transition as a message.
pub(crate) fn present_transition(row: &TransitionRow) -> pb::RuleTransition {
    pb::RuleTransition {
        version: row.version,
        from: row.from_state,
        to: row.to_state,
        reason: row.reason.clone(),
        actor: Some(contracts_common::common::v1::Actor { r#type: row.actor_type, id: row.actor_id.clone() }),
        at: Some(timestamp(row.at)),
        successor: row.successor.clone(),
    }
}

/// What the ledger keeps of a version: canonical JSON with sorted keys.
pub(crate) fn state_json(row: &VersionRow, state: RuleState) -> String {
    let fields = std::collections::BTreeMap::from([
        ("mode", serde_json::Value::from(row.mode)),
        ("rule_digest", row.rule_digest.to_hex().into()),
        ("rule_id", row.rule_id.clone().into()),
        ("state", state.as_str().into()),
        ("version", row.version.into()),
    ]);
    serde_json::to_string(&fields).unwrap_or_default()
}
