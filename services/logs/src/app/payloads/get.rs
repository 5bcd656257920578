//! Reads one payload.

use contracts_logs::v1::{GetPayloadResponse, Redaction};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bytes::timestamp,
    payload::{bound_to, reference},
    reasons,
};
use runspine_types::Digest;

use crate::{app::App, store::payloads};

impl App {
    /// A payload, decrypted and checked against its reference.
    ///
    /// # Errors
    /// PAYLOAD_NOT_FOUND, PAYLOAD_ERASED, or when it can't be read.
    pub async fn get_payload(&self, tenant_id: &str, wanted: Digest) -> Result<GetPayloadResponse, Fault> {
        let missing = || Fault::new(&reasons::PAYLOAD_NOT_FOUND, "there is no such payload");
        let row = payloads::find(self.db.read(), tenant_id, wanted).await?.ok_or_else(missing)?;
        let erased = || {
            let message = "the payload was erased";
            Fault::new(&reasons::PAYLOAD_ERASED, message)
                .precondition(format!("payloads/{wanted}"), "is stored")
                .with("erasure_id", &row.erasure_id)
                .with("erased_at", row.erased_at.unwrap_or_default().0)
        };
        let ciphertext = row.ciphertext.as_ref().ok_or_else(erased)?;
        let secrets = payloads::secrets(self.db.read(), tenant_id, &row.run_id).await?;
        let (salt, wrapped) =
            secrets.and_then(|secrets| secrets.digest_salt.zip(secrets.data_key)).ok_or_else(erased)?;
        let damaged = || Fault::new(&mesh::INTERNAL, "a stored payload does not agree with its reference");
        let key = self.vault.unwrap(&wrapped, tenant_id, &row.run_id).ok_or_else(damaged)?;
        let about = bound_to(tenant_id, &row.run_id, &wanted);
        let content = key.open(ciphertext, &about).ok_or_else(damaged)?;
        if reference(&salt, &content) != wanted {
            return Err(damaged());
        }
        let counts: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&row.redactions).map_err(|error| damaged().caused_by(error))?;
        let redaction = |(class, count): (String, serde_json::Value)| Redaction {
            class,
            count: count.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX),
        };
        Ok(GetPayloadResponse {
            media_type: row.media_type,
            content: content.into(),
            redactions: counts.into_iter().map(redaction).collect(),
            run_id: row.run_id,
            attempt: row.attempt,
            position: row.position,
            direction: row.direction,
            created_at: Some(timestamp(row.created_at)),
        })
    }
}
