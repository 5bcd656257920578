//! Requests as domain types; everything wrong with one is told at once.

mod command;
mod export;
mod list;
mod report;

use contracts_incidents::v1 as pb;
use runspine_errors::mesh;
use runspine_incidents_domain::EvidenceKind;
use runspine_types::new_id;

pub use command::{acknowledge, add_note, assign, close, create, incident_id, raise, reopen, resolve};
pub use export::{complete, export_id, exports, fail, prepare};
pub use list::{history, list, run_id};
pub use report::{fact, run_outcome, violation, void};

use super::checks::Checks;
use crate::app::EvidencePiece;

/// Bytes of a value or condition.
const MAX_EVIDENCE_TEXT: usize = 4_096;

/// Pieces of evidence in one request.
const MAX_EVIDENCE: usize = 20;

fn evidence(checks: &mut Checks, given: Vec<pb::Evidence>) -> Vec<EvidencePiece> {
    let few = given.len() <= MAX_EVIDENCE;
    checks.require(few, &mesh::FIELD_INVALID, "evidence", "has more than 20 pieces");
    let pieces = given.into_iter().enumerate().map(|(n, e)| piece(checks, &format!("evidence[{n}]"), e));
    pieces.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn piece(checks: &mut Checks, at: &str, e: pb::Evidence) -> Option<EvidencePiece> {
    let kind = checks.word(&format!("{at}.kind"), e.kind, EvidenceKind::of);
    checks.text(&format!("{at}.rule_id"), &e.rule_id, 128);
    for (name, text) in [("value", &e.value), ("condition", &e.condition)] {
        let fits = text.len() <= MAX_EVIDENCE_TEXT;
        checks.require(fits, &mesh::FIELD_INVALID, &format!("{at}.{name}"), "has more than 4096 bytes");
    }
    checks.optional_digest(&format!("{at}.digest"), &e.digest);
    checks.optional_digest(&format!("{at}.trace_link"), &e.trace_link);
    Some(EvidencePiece {
        id: new_id(),
        kind: kind?,
        rule_id: e.rule_id,
        value: e.value,
        condition: e.condition,
        digest: e.digest,
        step_index: e.step_index,
        trace_position: e.trace_position,
        trace_link: e.trace_link,
    })
}
