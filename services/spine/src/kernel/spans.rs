//! Spans of OpenTelemetry: handed to logs, and answered in the exporter's own terms.

use contracts_logs::v1::{AppendSpansRequest, AppendSpansResponse, PriceTable};
use contracts_spine::v1::{IngestSpansRequest, IngestSpansResponse, RejectedSpan, SpanPartialSuccess};
use runspine_rpc::{Context, status};
use tonic::Status;

use super::Kernel;
use crate::bridges::Miss;

/// Refused spans that an exporter is told by name.
const NAMED: usize = 10;

impl Kernel {
    /// Stores spans. Runs that exist only as spans are started first; `prices` are for spans that don't say their cost.
    ///
    /// # Errors
    /// When such a run can't be started, or as logs says: nothing of the request is stored then.
    pub async fn ingest_spans(
        &self,
        context: &Context,
        request: IngestSpansRequest,
        prices: &PriceTable,
    ) -> Result<IngestSpansResponse, Status> {
        if request.resource_spans.is_empty() {
            return Ok(IngestSpansResponse::default());
        }
        let append = AppendSpansRequest {
            resource_spans: request.resource_spans,
            observe: true,
            prices: Some(prices.clone()),
        };
        let mut done = self.bridges.spans.append(context, append.clone()).await.map_err(Miss::into_status)?;
        if !done.unknown.is_empty() {
            self.observe(context, done.unknown).await.map_err(status)?;
            let append = AppendSpansRequest { observe: false, ..append };
            done = self.bridges.spans.append(context, append).await.map_err(Miss::into_status)?;
        }
        Ok(IngestSpansResponse {
            partial_success: told(&done),
            stored: done.stored,
            duplicates: done.duplicates,
            late: done.late,
            ignored: done.ignored,
            rejected: done
                .rejected
                .into_iter()
                .map(|span| RejectedSpan { span_id: span.span_id, reason: span.reason })
                .collect(),
        })
    }
}

/// What an exporter is told; nothing when every span is where it belongs.
fn told(done: &AppendSpansResponse) -> Option<SpanPartialSuccess> {
    let mut said: Vec<String> =
        done.rejected.iter().take(NAMED).map(|span| format!("{}: {}", span.span_id, span.reason)).collect();
    if done.rejected.len() > NAMED {
        said.push(format!("{} more", done.rejected.len() - NAMED));
    }
    for (count, what) in
        [(done.ignored, "are no part of a run"), (done.late, "came after their trace was sealed")]
    {
        if count > 0 {
            said.push(format!("{count} {what}"));
        }
    }
    (!said.is_empty()).then(|| SpanPartialSuccess {
        rejected_spans: i64::try_from(done.rejected.len()).unwrap_or(i64::MAX),
        error_message: said.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use contracts_logs::v1::RejectedSpan;

    use super::*;

    fn refused(count: usize) -> AppendSpansResponse {
        let span = |n| RejectedSpan { span_id: format!("{n:016x}"), reason: "NO_END".to_owned() };
        AppendSpansResponse { rejected: (0..count).map(span).collect(), ..AppendSpansResponse::default() }
    }

    #[test]
    fn an_exporter_hears_of_what_it_has_to_know_and_of_nothing_else() {
        let stored = AppendSpansResponse { stored: 9, duplicates: 2, ..AppendSpansResponse::default() };
        assert_eq!(told(&stored), None);
        let said = told(&AppendSpansResponse { ignored: 2, late: 1, ..stored })
            .map(|t| (t.rejected_spans, t.error_message));
        assert_eq!(said, Some((0, "2 are no part of a run; 1 came after their trace was sealed".to_owned())));
        let said = told(&refused(12)).map(|t| (t.rejected_spans, t.error_message));
        let (count, message) = said.unwrap_or_default();
        assert_eq!(count, 12);
        assert!(
            message.starts_with("0000000000000000: NO_END; ") && message.ends_with("; 2 more"),
            "{message}"
        );
    }
}
