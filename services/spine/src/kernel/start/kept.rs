//! The first answer to a start wins, whoever asks again.

use contracts_activity::v1::{GetAnswerRequest, KeepAnswerRequest};
use contracts_spine::v1::{StartRunRequest, StartRunResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;

use super::other_body;
use crate::kernel::{Kernel, charter::start_digest};
use crate::reasons;

const OPERATION: &str = "spine.StartRun";

impl Kernel {
    pub(super) async fn first_start(
        &self,
        context: &Context,
        request: &StartRunRequest,
    ) -> Outcome<Option<StartRunResponse>> {
        let digest = start_digest(request);
        let get = GetAnswerRequest {
            run_id: request.request_id.clone(),
            operation: OPERATION.to_owned(),
            key: request.request_id.clone(),
        };
        let kept = self.bridges.answers.get(context, get).await;
        let kept = kept.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        if !kept.found {
            return Ok(None);
        }
        if kept.request_digest != digest.as_bytes() {
            return Err(other_body(&request.run_id));
        }
        decode(kept.answer).map(Some)
    }

    /// The first answer under this key wins, also over this one.
    pub(super) async fn keep_start(
        &self,
        context: &Context,
        request: &StartRunRequest,
        answer: StartRunResponse,
    ) -> Outcome<StartRunResponse> {
        let keep = KeepAnswerRequest {
            run_id: request.request_id.clone(),
            operation: OPERATION.to_owned(),
            key: request.request_id.clone(),
            request_digest: start_digest(request).to_vec().into(),
            answer: answer.encode_to_vec().into(),
        };
        let kept = self.bridges.answers.keep(context, keep).await;
        decode(kept.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?.answer)
    }
}

fn decode(answer: bytes::Bytes) -> Outcome<StartRunResponse> {
    StartRunResponse::decode(answer)
        .map_err(|e| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(e))
}
