//! What people, and time, do with lessons besides proposals.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    lesson::{Act, check_deferral, moved},
    reasons,
    rule::check_reason,
    words::LessonState,
};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{about, held, lesson, save};
use crate::{
    app::{App, Keyed, Who, emit::event},
    store::lessons::{self, LessonRow},
};

/// Lessons of one pass.
const MOST: i64 = 100;

/// What is done to a lesson.
#[derive(Clone)]
pub(crate) struct Turn {
    pub lesson_id: String,
    pub version: u64,
    pub what: What,
}

/// Which of the acts, with what goes with it.
#[derive(Clone)]
pub(crate) enum What {
    Defer(Micros),
    Dismiss(String),
    Reactivate(String),
}

impl What {
    const fn act(&self) -> Act {
        match self {
            Self::Defer(_) => Act::Defer,
            Self::Dismiss(_) => Act::Dismiss,
            Self::Reactivate(_) => Act::Reactivate,
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Defer(_) => "DEFERRED",
            Self::Dismiss(reason) | Self::Reactivate(reason) => reason,
        }
    }
}

impl App {
    /// Defers, dismisses or takes up a lesson.
    pub(crate) async fn turn_lesson(&self, who: &Who, key: Keyed, turn: Turn) -> Result<pb::Lesson, Fault> {
        let at = self.now();
        match &turn.what {
            What::Defer(until) => check_deferral(*until, at)?,
            What::Dismiss(reason) | What::Reactivate(reason) => check_reason(reason)?,
        }
        let who_ = who.clone();
        self.keyed(who, key, move |tx| {
            Box::pin(async move {
                let (row, mut found) = held(tx, &who_.tenant, &turn.lesson_id, turn.version).await?;
                let from = turned(&mut found, turn.what.act())?;
                match &turn.what {
                    What::Defer(until) => found.deferred_until = Some(timestamp(*until)),
                    What::Dismiss(reason) => {
                        found.dismissed_by = Some(who_.actor.clone());
                        found.dismissed_at = Some(timestamp(at));
                        found.dismissed_reason.clone_from(reason);
                    }
                    What::Reactivate(_) => found.deferred_until = None,
                }
                save(tx, &who_, &row, &mut found, (from, turn.what.reason()), at).await?;
                tell(tx, &who_, &found, (from, turn.what.reason()), at);
                Ok(found)
            })
        })
        .await
    }

    /// Takes up lessons whose time came: how many. Two of these at once take each up once, because a lesson is changed
    /// only if it still is what was read.
    pub(crate) async fn reactivate_due_lessons(&self) -> Result<usize, Fault> {
        let (now, mut done) = (self.now(), 0);
        for row in lessons::due(self.db.read(), now, MOST).await? {
            match self.reactivate(row, now).await {
                Ok(()) => done += 1,
                Err(fault) if fault.is(&reasons::VERSION_CONFLICT) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(done)
    }

    async fn reactivate(&self, row: LessonRow, now: Micros) -> Result<(), Fault> {
        let write = self.db.write("policies.lessons", move |tx| {
            Box::pin(async move {
                let who = Who::of_the_mesh(&row.tenant_id);
                let mut found = lesson(&row)?;
                let from = turned(&mut found, Act::Reactivate)?;
                found.deferred_until = None;
                save(tx, &who, &row, &mut found, (from, "its time came"), now).await?;
                tell(tx, &who, &found, (from, "its time came"), now);
                Ok(())
            })
        });
        write.await
    }
}

fn tell(tx: &mut Tx, who: &Who, lesson: &pb::Lesson, (from, reason): (i32, &str), at: Micros) {
    let data = pb::LessonMoved { lesson_id: lesson.lesson_id.clone(), from, to: lesson.state };
    tx.emit_raw(event(who, "LessonMoved", about(lesson, reason), &data, at));
}

/// Moves a lesson, and says from where.
pub(super) fn turned(lesson: &mut pb::Lesson, act: Act) -> Result<i32, Fault> {
    let from = LessonState::from_code(lesson.state).unwrap_or(LessonState::Dismissed);
    lesson.state = moved(from, act)?.code();
    Ok(from.code())
}
