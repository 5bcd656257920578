//! KeepAnswer and GetAnswer: the first answers of the kernel's KEYED calls.

use bytes::Bytes;
use contracts_activity::v1::{GetAnswerRequest, GetAnswerResponse, KeepAnswerRequest, KeepAnswerResponse};
use runspine_db::args;
use runspine_errors::{Fault, Outcome, mesh};

use crate::app::{App, Who};

const FIND: &str = "SELECT request_digest, answer FROM call_answers \
    WHERE tenant_id = $1 AND run_id = $2 AND operation = $3 AND request_key = $4";

pub(crate) async fn keep(app: &App, who: Who, request: KeepAnswerRequest) -> Outcome<KeepAnswerResponse> {
    let clock = app.clock.clone();
    let write = app.db.write("KeepAnswer", move |tx| {
        Box::pin(async move {
            let insert = "INSERT INTO call_answers (tenant_id, run_id, operation, request_key, request_digest, answer, \
                          kept_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                          ON CONFLICT (tenant_id, run_id, operation, request_key) DO NOTHING";
            let r = &request;
            let row = args![
                &who.tenant,
                &r.run_id,
                &r.operation,
                &r.key,
                &r.request_digest,
                &r.answer,
                clock.now(),
            ];
            if tx.execute(insert, row).await? == 1 {
                return Ok(KeepAnswerResponse { answer: request.answer, existing: false });
            }
            let key = args![&who.tenant, &r.run_id, &r.operation, &r.key];
            let (digest, answer): (Bytes, Bytes) = tx.fetch_one(FIND, key).await?;
            if digest != r.request_digest {
                return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the key was used with another request")
                    .with("key", &r.key));
            }
            let existing = answer != r.answer;
            Ok(KeepAnswerResponse { answer, existing })
        })
    });
    write.await
}

pub(crate) async fn get(app: &App, who: &Who, request: &GetAnswerRequest) -> Outcome<GetAnswerResponse> {
    let key = args![&who.tenant, &request.run_id, &request.operation, &request.key];
    let found: Option<(Bytes, Bytes)> = app.db.read().fetch_optional(FIND, key).await?;
    Ok(match found {
        Some((request_digest, answer)) => GetAnswerResponse { found: true, request_digest, answer },
        None => GetAnswerResponse::default(),
    })
}
