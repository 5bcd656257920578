//! Answers that were given, so that a repeated call gets the first one again, byte for byte.

use bytes::Bytes;
use runspine_errors::{Fault, mesh};
use runspine_types::{Digest, Micros};

use crate::{Args, DbError, Tx, args};

/// What the store knows of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// It was never answered.
    Fresh,
    /// It was answered with these bytes.
    Replay(Bytes),
}

/// An answer to keep.
#[derive(Debug, Clone)]
pub struct KeptAnswer {
    /// The tenant.
    pub tenant: String,
    /// The operation, `package.Service/Method`.
    pub operation: String,
    /// The request's key: `request_id` or its natural key.
    pub key: String,
    /// Digest of the request.
    pub request_digest: Digest,
    /// The encoded answer.
    pub answer: Bytes,
    /// When it was given.
    pub at: Micros,
}

impl Tx {
    /// Looks whether a call was answered before.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH` when the same key came with another request.
    pub async fn replay(
        &mut self,
        tenant: &str,
        operation: &str,
        key: &str,
        request_digest: Digest,
    ) -> Result<Replayed, Fault> {
        let sql = "SELECT request_digest, answer FROM kept_answers \
                   WHERE tenant_id = $1 AND operation = $2 AND request_key = $3";
        match self.fetch_optional::<(Digest, Bytes)>(sql, args![tenant, operation, key]).await? {
            None => Ok(Replayed::Fresh),
            Some((kept, answer)) if kept == request_digest => Ok(Replayed::Replay(answer)),
            Some(_) => Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the key was used with another request")
                .with("key", key)),
        }
    }

    /// Keeps one answer.
    ///
    /// # Errors
    /// [`DbError::Unique`] when the call was answered before.
    pub async fn keep_answer(&mut self, answer: KeptAnswer) -> Result<(), DbError> {
        self.keep_answers(vec![answer]).await
    }

    /// Keeps the answers of a whole batch with few statements.
    ///
    /// # Errors
    /// [`DbError::Unique`] when one of the calls was answered before.
    pub async fn keep_answers(&mut self, answers: Vec<KeptAnswer>) -> Result<(), DbError> {
        let columns = ["tenant_id", "operation", "request_key", "request_digest", "answer", "kept_at"];
        let rows: Vec<Args> = answers
            .into_iter()
            .map(|a| args![a.tenant, a.operation, a.key, a.request_digest, a.answer, a.at])
            .collect();
        self.insert_rows("kept_answers", &columns, rows, "").await?;
        Ok(())
    }

    /// Forgets at most `limit` answers given before `before`, the oldest first, and says how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn purge_answers(&mut self, before: Micros, limit: u32) -> Result<u64, DbError> {
        let sql = "DELETE FROM kept_answers WHERE id IN \
                   (SELECT id FROM kept_answers WHERE kept_at < $1 ORDER BY kept_at, id LIMIT $2)";
        self.execute(sql, args![before, limit]).await
    }
}
