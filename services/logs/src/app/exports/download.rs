//! Hands out the content of an export. To whom is recorded before the first byte leaves.

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{DownloadExportResponse, ExportDelivered};
use futures::{Stream, stream};
use runspine_errors::Fault;
use runspine_logs_domain::reasons;

use super::{make::about, view::missing};
use crate::{
    app::{App, announce::announce, audit::told::Caused, once::Once},
    store::exports::{self, EventRow, Kind},
};

impl App {
    /// The pieces of a content, in order. The same request again hands it out again and records nothing new.
    ///
    /// # Errors
    /// EXPORT_NOT_FOUND, EXPORT_NOT_READY, EXPORT_EXPIRED, IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn download_export(
        self: &Arc<Self>,
        call: &CallContext,
        (once, id): (Once, String),
    ) -> Result<impl Stream<Item = Result<Bytes, Fault>> + Send + use<>, Fault> {
        let row = exports::find(self.db.read(), &call.tenant_id, &id).await?.ok_or_else(missing)?;
        let events = exports::events(self.db.read(), &[&id]).await?;
        let made = events.into_iter().find(|event| event.kind == Kind::Completed as i64);
        let made = made.ok_or_else(|| {
            Fault::new(&reasons::EXPORT_NOT_READY, "the export has no content")
                .precondition(format!("exports/{id}"), "is COMPLETED")
        })?;
        let now = self.clock.now();
        if made.expires_at.is_none_or(|until| until <= now) {
            let message = "the content was kept for 24 hours; order it again";
            return Err(Fault::new(&reasons::EXPORT_EXPIRED, message)
                .precondition(format!("exports/{id}"), "is not expired"));
        }
        let caused = Caused::by(call);
        self.once(once, move |tx| {
            Box::pin(async move {
                let to = caused.actor_id().to_owned();
                exports::event(tx, &EventRow::of(&row.export_id, Kind::Delivered, now, &to)).await?;
                let data = ExportDelivered {
                    export_id: row.export_id.clone(),
                    run_id: row.run_id.clone(),
                    content_digest: made.digest,
                };
                announce(tx, about("ExportDelivered", &data, &row), None, &caused, now).await?;
                Ok(DownloadExportResponse::default())
            })
        })
        .await?;
        let app = Arc::clone(self);
        Ok(stream::try_unfold(0_u32, move |n| {
            let (app, id) = (Arc::clone(&app), id.clone());
            async move { Ok(exports::piece(app.db.read(), &id, n).await?.map(|piece| (piece, n + 1))) }
        }))
    }
}
