//! Lessons: taken from what was seen, and what people make of them.

pub(crate) mod convert;
pub(crate) mod emit;
mod read;
pub(crate) mod turn;

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::reasons;
use runspine_types::Micros;

use super::{
    Who,
    emit::{About, event},
    unreadable,
};
use crate::store::lessons::{self, Kept, LessonRow, Moved};

/// Refused: there is no such lesson.
fn not_found() -> Fault {
    Fault::new(&reasons::LESSON_NOT_FOUND, "there is no such lesson")
}

/// Refused: somebody else was first.
fn conflict() -> Fault {
    Fault::new(&reasons::VERSION_CONFLICT, "the lesson was changed since it was read")
}

/// A stored lesson as a message.
fn lesson(row: &LessonRow) -> Result<pb::Lesson, Fault> {
    let lesson = pb::Lesson::decode(row.body.clone()).map_err(unreadable)?;
    Ok(pb::Lesson { version: row.version, ..lesson })
}

fn kept(l: &pb::Lesson) -> Kept<'_> {
    let due = l.deferred_until.as_ref().map_or(i64::MAX, |t| runspine_rpc::micros(t).0);
    Kept {
        lesson_id: &l.lesson_id,
        r#type: l.r#type,
        state: l.state,
        severity: l.severity,
        band: l.band,
        is_synthetic: l.is_synthetic,
        signature: &l.pattern_signature,
        due_at: due,
        body: l.encode_to_vec(),
    }
}

/// A lesson that a caller has read at a version.
async fn held(tx: &mut Tx, tenant: &str, id: &str, version: u64) -> Result<(LessonRow, pb::Lesson), Fault> {
    let row = lessons::by_id(tx, tenant, id).await?.ok_or_else(not_found)?;
    let found = lesson(&row)?;
    if row.version != version {
        return Err(conflict());
    }
    Ok((row, found))
}

/// Stores what a lesson becomes, with its place in the history; `from` equal to its state: it was only counted on.
async fn save(
    tx: &mut Tx,
    who: &Who,
    row: &LessonRow,
    lesson: &mut pb::Lesson,
    (from, reason): (i32, &str),
    at: Micros,
) -> Result<(), Fault> {
    lesson.updated_at = Some(runspine_rpc::timestamp(at));
    if !lessons::update(tx, row.id, row.version, kept(lesson)).await? {
        return Err(conflict());
    }
    lesson.version = row.version + 1;
    if from != lesson.state {
        let actor = (who.actor.r#type, who.actor.id.as_str());
        lessons::insert_transition(tx, row.id, Moved { from, to: lesson.state, reason, actor, at }).await?;
    }
    Ok(())
}

fn about(l: &pb::Lesson, reason: &str) -> About {
    About {
        entity_type: "lesson",
        entity_id: l.lesson_id.clone(),
        run_id: l.run_id.clone(),
        reason: reason.to_owned(),
        ..About::default()
    }
}

fn tell_created(tx: &mut Tx, who: &Who, l: &pb::Lesson, at: Micros) {
    let data = pb::LessonCreated { lesson: Some(l.clone()) };
    tx.emit_raw(event(who, "LessonCreated", about(l, &l.title), &data, at));
}
