//! First answers of the orders that people give: a repeat gets the same bytes.

use contracts_activity::v1::{GetAnswerRequest, KeepAnswerRequest};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;
use runspine_types::Hasher;

use super::Kernel;
use crate::reasons;

impl Kernel {
    pub(super) async fn kept<T: Message + Default>(
        &self,
        context: &Context,
        key: &Kept,
    ) -> Outcome<Option<T>> {
        let get = GetAnswerRequest {
            run_id: key.run_id.clone(),
            operation: key.operation.to_owned(),
            key: key.key.clone(),
        };
        let kept = self.bridges.answers.get(context, get).await;
        let kept = kept.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        if !kept.found {
            return Ok(None);
        }
        if kept.request_digest != key.digest {
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the request id was used with another body"));
        }
        decode(kept.answer).map(Some)
    }

    pub(super) async fn keep<T: Message + Default>(
        &self,
        context: &Context,
        key: &Kept,
        answer: T,
    ) -> Outcome<T> {
        let keep = KeepAnswerRequest {
            run_id: key.run_id.clone(),
            operation: key.operation.to_owned(),
            key: key.key.clone(),
            request_digest: key.digest.clone().into(),
            answer: answer.encode_to_vec().into(),
        };
        let kept = self.bridges.answers.keep(context, keep).await;
        decode(kept.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?.answer)
    }
}

fn decode<T: Message + Default>(answer: bytes::Bytes) -> Outcome<T> {
    T::decode(answer).map_err(|e| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(e))
}

/// Under what an answer is kept.
pub(super) struct Kept {
    operation: &'static str,
    run_id: String,
    key: String,
    digest: Vec<u8>,
}

impl Kept {
    pub(super) fn of(operation: &'static str, run_id: &str, key: &str, body: Vec<u8>) -> Self {
        let digest = Hasher::new("runspine.request.v1").sized(operation.as_bytes()).sized(&body).finish();
        Self { operation, run_id: run_id.to_owned(), key: key.to_owned(), digest: digest.to_vec() }
    }
}
