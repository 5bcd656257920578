//! Compares what two attempts did.

use bytes::Bytes;
use contracts_logs::v1::{CompareTracesResponse, ComparisonResult, Divergence};
use runspine_errors::Fault;
use runspine_types::Digest;

use super::{App, seal_trace::ReadSoFar};
use crate::store::records;

/// Records that are read at a time.
const PAGE: i64 = 1_000;

impl App {
    /// Compares two attempts, each given by run and attempt; attempt 0 is the latest.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, or when the store can't be read.
    pub async fn compare_traces(
        &self,
        tenant_id: &str,
        (left, right): ((&str, u32), (&str, u32)),
    ) -> Result<CompareTracesResponse, Fault> {
        let left = self.behaviour(tenant_id, left).await?;
        let right = self.behaviour(tenant_id, right).await?;
        let (left, right) = (&left.summary.behaviour, &right.summary.behaviour);
        let divergence = left.divergence(right);
        let result = if divergence.is_none() { ComparisonResult::Parity } else { ComparisonResult::Diverged };
        Ok(CompareTracesResponse {
            result: result.into(),
            first_divergence: divergence.map(|found| Divergence {
                place: found.place,
                left_step_index: found.left,
                right_step_index: found.right,
                reasons: found.reasons.into_iter().map(str::to_owned).collect(),
            }),
            left_signature: raw(left.signature()),
            right_signature: raw(right.signature()),
            left_steps: left.len() as u64,
            right_steps: right.len() as u64,
        })
    }

    async fn behaviour(&self, tenant_id: &str, (run_id, attempt): (&str, u32)) -> Result<ReadSoFar, Fault> {
        let trace = self.find_kept_trace(tenant_id, run_id, attempt, 0).await?;
        let mut so_far = ReadSoFar::to_compare(&trace);
        loop {
            let page = records::page(self.db.read(), trace.trace_key, so_far.position, PAGE).await?;
            so_far.take(&page)?;
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(so_far);
            }
        }
    }
}

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}
