//! A mutation is done once: its answer is kept in the commit of what it did, and a repeat gets the same bytes.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use prost::Message;
use runspine_db::{BoxFuture, KeptAnswer, Replayed, Tx};
use runspine_errors::Fault;
use runspine_types::{Digest, Micros, hash};

use super::App;
use crate::metrics;

/// What identifies a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The tenant.
    pub tenant_id: String,
    /// The operation, `package.Service/Method`.
    pub operation: &'static str,
    /// Its `request_id`, or its natural key.
    pub key: String,
    /// Digest of the request.
    pub request_digest: Digest,
}

impl Once {
    /// A call of `operation` with a `request_id`.
    #[must_use]
    pub fn new(call: &CallContext, operation: &'static str, key: &str, request: &impl Message) -> Self {
        Self {
            tenant_id: call.tenant_id.clone(),
            operation,
            key: key.to_owned(),
            request_digest: hash(&request.encode_to_vec()),
        }
    }
}

impl App {
    /// Runs `work` unless the call was answered before, and gives the answer as it is kept.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH, what `work` fails with, or when the store can't be written.
    pub async fn once<M, F>(&self, once: Once, work: F) -> Result<Bytes, Fault>
    where
        M: Message + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<M, Fault>> + Send + 'static,
    {
        self.once_if(once, |_| true, work).await
    }

    /// The same, but an answer that `worth` does not want is not kept: its repeat does the work anew.
    ///
    /// # Errors
    /// As [`App::once`].
    pub async fn once_if<M, F>(&self, once: Once, worth: fn(&M) -> bool, work: F) -> Result<Bytes, Fault>
    where
        M: Message + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<M, Fault>> + Send + 'static,
    {
        let at: Micros = self.clock.now();
        let name = once.operation.rsplit('/').next().unwrap_or(once.operation);
        self.db
            .write(name, move |tx| {
                Box::pin(async move {
                    let given =
                        tx.replay(&once.tenant_id, once.operation, &once.key, once.request_digest).await?;
                    if let Replayed::Replay(answer) = given {
                        metrics::DUPLICATES.increment(&[("op", name)]);
                        return Ok(answer);
                    }
                    let made = work(tx).await?;
                    let answer = Bytes::from(made.encode_to_vec());
                    if !worth(&made) {
                        return Ok(answer);
                    }
                    tx.keep_answer(KeptAnswer {
                        tenant: once.tenant_id,
                        operation: once.operation.to_owned(),
                        key: once.key,
                        request_digest: once.request_digest,
                        answer: answer.clone(),
                        at,
                    })
                    .await?;
                    Ok(answer)
                })
            })
            .await
            .inspect_err(metrics::refused)
    }
}
