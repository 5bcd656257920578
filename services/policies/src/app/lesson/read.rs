//! Lessons as they are read.

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_rpc::optional_micros;

use super::{lesson, not_found};
use crate::{
    app::{App, Who, read::Page},
    store::{
        lessons::{self, LessonRow},
        lists::Filter,
    },
};

impl App {
    /// One lesson.
    pub(crate) async fn lesson(&self, who: &Who, id: &str) -> Result<pb::Lesson, Fault> {
        let row = lessons::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        lesson(&row)
    }

    /// Lessons, newest first, with their keys.
    pub(crate) async fn lessons(
        &self,
        who: &Who,
        request: &pb::ListLessonsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Lesson)>, Fault> {
        let filter = Filter::tenant("tenant_id", &who.tenant)
            .any_of("type", &request.types)
            .any_of("state", &request.states)
            .any_of("severity", &request.severities)
            .and_if("id <", page.before);
        let filter = if request.include_synthetic { filter } else { filter.raw(" AND is_synthetic = 0") };
        let rows: Vec<LessonRow> =
            filter.fetch(self.db.read(), lessons::LESSON, "id DESC", page.limit).await?;
        rows.iter().map(|row| Ok((row.id, lesson(row)?))).collect()
    }

    /// How many lessons there are of each type, state and band.
    pub(crate) async fn lesson_stats(
        &self,
        who: &Who,
        request: &pb::GetLessonStatsRequest,
    ) -> Result<Vec<pb::LessonCount>, Fault> {
        let since = optional_micros(request.since.as_ref()).map_or(i64::MIN, |t| t.0);
        let until = optional_micros(request.until.as_ref()).map_or(i64::MAX, |t| t.0);
        let rows = lessons::stats(self.db.read(), &who.tenant, since, until).await?;
        let one = |r: lessons::CountRow| pb::LessonCount {
            r#type: r.kind,
            state: r.state,
            band: r.band,
            count: r.count,
        };
        Ok(rows.into_iter().map(one).collect())
    }
}
