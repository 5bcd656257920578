//! Payloads that could not be redacted: they are not stored, and that stands among the evidence of their run.

use contracts_logs::v1::{EvidenceFailureReason, EvidenceKind, EvidenceResolution};
use runspine_db::{DbError, Tx};
use runspine_types::{Digest, Micros};

use crate::{
    app::audit::{
        evidence::{Capture, Content, fail},
        told::Caused,
    },
    store::{evidence::AttemptKey, traces::TraceRef},
};

/// Keeps the failure of a step whose payloads could not be redacted, once for the step.
///
/// # Errors
/// When the store can't be read or written.
pub async fn keep(
    tx: &mut Tx,
    of: &TraceRef,
    step_index: Option<u32>,
    caused: &Caused,
    now: Micros,
) -> Result<(), DbError> {
    let detail = "a payload of the step could not be redacted and is not stored";
    // Nobody brings it again: a repeat of the record stores nothing.
    let (reason, never) = (EvidenceFailureReason::RedactionFailed, EvidenceResolution::Permanent);
    let capture = Capture {
        key: AttemptKey { tenant_id: of.tenant_id.clone(), run_id: of.run_id.clone(), attempt: of.attempt },
        step_index,
        kind: EvidenceKind::Activity,
        context: None,
        request_id: String::new(),
        request_digest: Digest::default(),
        captured_at: None,
        content: Content::Failure(reason, detail.to_owned(), never),
    };
    tracing::error!(run_id = of.run_id, step_index, "a payload could not be redacted and is not stored");
    fail(tx, &capture, reason, detail, never, caused, now).await.map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use runspine_testkit::{TestStore, on_both_engines, run, tenant};

    use super::*;
    use crate::{MIGRATIONS, store::evidence::list_failures};

    on_both_engines! {
        /// One failure a step, however many of its payloads and however often.
        async fn a_failure_stands_among_the_evidence(store: TestStore) {
            let db = store.open("logs", MIGRATIONS).await;
            for (step_index, at) in [(Some(3), 1), (Some(3), 2), (Some(4), 3)] {
                let of = TraceRef { tenant_id: tenant(1), run_id: run(1), attempt: 1 };
                db.write("failures", move |tx| {
                    Box::pin(async move {
                        keep(tx, &of, step_index, &Caused::default(), Micros(at)).await?;
                        Ok(())
                    })
                })
                .await
                .unwrap();
            }
            let found = list_failures(db.read(), (&tenant(1), &run(1)), None, &[]).await.unwrap();
            let told: Vec<_> = found.iter().map(|f| (f.step_index, f.reason, f.resolution)).collect();
            let (reason, never) = (EvidenceFailureReason::RedactionFailed, EvidenceResolution::Permanent);
            let failed = |step| (step, i32::from(reason), i32::from(never));
            assert_eq!(told, [failed(3), failed(4)]);
        }
    }
}
