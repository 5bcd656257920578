//! Parts of exports as they come: a head, then pieces.

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{self as pb, ExportPartStatus, add_export_part_request::Piece};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_rpc::status;
use runspine_types::{Hasher, hash, is_uuid};
use serde::de::IgnoredAny;
use tonic::{Status, Streaming};

use super::{
    audit::fields::Fields,
    export_service::{Exports, document},
    present,
};
use crate::app::once::Once;

const ADD: &str = "runspine.logs.v1.ExportService/AddExportPart";

/// Most bytes of one document.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Most bytes of one figure.
const MAX_FIGURE: usize = 4 * 1024;
/// Most bytes of one part.
const MAX_PART: usize = 64 * 1024 * 1024;

impl Exports {
    /// Takes one part to its end, then adds it.
    pub async fn add_part(
        &self,
        call: &CallContext,
        mut stream: Streaming<pb::AddExportPartRequest>,
    ) -> Result<pb::AddExportPartResponse, Status> {
        let Some(Piece::Head(head)) = stream.message().await?.and_then(|first| first.piece) else {
            return Err(status(misplaced()));
        };
        check_head(&head).map_err(status)?;
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while let Some(message) = stream.message().await? {
            check(&message).map_err(status)?;
            let piece = Bytes::from(message.encode_to_vec());
            bytes += piece.len();
            if bytes > MAX_PART {
                let message = "the part is larger than 64 MiB";
                return Err(status(Fault::new(&mesh::MESSAGE_TOO_LARGE, message)));
            }
            pieces.push(piece);
        }
        let key = format!("{}/{}", head.export_id, head.source);
        let of_pieces =
            pieces.iter().fold(Hasher::new("runspine.exportpart.v1"), |all, piece| all.sized(piece));
        let digest = of_pieces.finish();
        let whole = [&head.encode_to_vec(), &digest.to_vec()].map(Vec::as_slice).concat();
        let once =
            Once { tenant_id: call.tenant_id.clone(), operation: ADD, key, request_digest: hash(&whole) };
        let answer = self.app.add_export_part(once, head, (pieces, digest)).await.map_err(status)?;
        present::decode(&answer).map_err(status)
    }
}

fn misplaced() -> Fault {
    Fault::new(&mesh::FIELD_INVALID, "a part is a head, then documents and figures").field(
        "piece",
        mesh::FIELD_INVALID.name,
        "is a head first, and never again",
    )
}

fn check_head(head: &pb::ExportPartHead) -> Result<(), Fault> {
    let mut fields = Fields::new();
    fields.require(is_uuid(&head.export_id), "head.export_id", "is a UUID");
    fields.require((1..=32).contains(&head.source.len()), "head.source", "has 1 to 32 bytes");
    let given = fields.known::<ExportPartStatus>("head.status", head.status);
    let told = head.reason.is_empty() == (given == ExportPartStatus::Ok) && head.reason.len() <= 200;
    fields.require(told, "head.reason", "says in up to 200 bytes why a domain could not be asked");
    fields.done()
}

fn check(message: &pb::AddExportPartRequest) -> Result<(), Fault> {
    let mut fields = Fields::new();
    match &message.piece {
        Some(Piece::Decision(given)) => return document(given),
        Some(Piece::Document(given)) => {
            fields.require((1..=128).contains(&given.r#type.len()), "document.type", "has 1 to 128 bytes");
            let fits = given.json.len() <= MAX_DOCUMENT && is_json(&given.json);
            fields.require(fits, "document.json", "is JSON of at most 1 MiB");
        }
        Some(Piece::Figure(given)) => {
            let named = (1..=64).contains(&given.name.len())
                && given.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            fields.require(named, "figure.name", "is [a-z0-9_]{1,64}");
            let fits = given.value.len() <= MAX_FIGURE && is_json(&given.value);
            fields.require(fits, "figure.value", "is JSON of at most 4 KiB");
            let led = (1..=128).contains(&given.reference.len());
            fields.require(led, "figure.reference", "has 1 to 128 bytes");
        }
        Some(Piece::Head(_)) | None => return Err(misplaced()),
    }
    fields.done()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}
