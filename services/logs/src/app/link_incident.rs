//! Ties an incident to a trace.

use runspine_errors::{Fault, mesh};
use runspine_logs_domain::reasons;
use runspine_types::new_id;

use super::App;
use crate::store::traces::{self, TraceRef};

impl App {
    /// Ties an incident to the trace of an attempt and gives the id of the link; the same pair again gives the first.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND; IDEMPOTENCY_MISMATCH when the pair is tied at another step; or when the store can't be written.
    pub async fn link_incident(
        &self,
        of: TraceRef,
        incident_id: String,
        step_index: Option<u32>,
    ) -> Result<String, Fault> {
        let now = self.clock.now();
        self.db
            .write("link_incident", move |tx| {
                Box::pin(async move {
                    let missing =
                        || Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this attempt");
                    let row = traces::find(tx, &of).await?.ok_or_else(missing)?;
                    let link_id = new_id();
                    let link = (link_id.as_str(), incident_id.as_str(), step_index);
                    if traces::link_incident(tx, row.trace_key, link, now).await? {
                        return Ok(link_id);
                    }
                    match traces::incident_link(tx, row.trace_key, &incident_id).await? {
                        Some((first, step)) if step == step_index => Ok(first),
                        _ => Err(Fault::new(
                            &mesh::IDEMPOTENCY_MISMATCH,
                            "the incident is tied to this trace at another step",
                        )),
                    }
                })
            })
            .await
    }
}
