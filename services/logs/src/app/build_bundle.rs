//! Builds the bundle of a run: everything that logs keeps of it, and what the spine brought from other domains.

use std::collections::HashMap;

use bytes::Bytes;
use contracts_logs::v1::{self as pb, BundleMissingStatus, KeyPurpose};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bundle::{Builder, Head, Item},
    bytes::encode,
    chain,
    keys::Signed,
    reasons,
    trace::Body,
};
use runspine_types::new_id;

use super::{
    App,
    read_traces::{TraceView, kept},
};
use crate::store::{
    chains,
    checkpoint::{self, Log},
    keys, records, traces,
};

/// Records that are read at a time.
const PAGE: i64 = 1_000;
/// Most bytes of the items of one bundle.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// Most bytes of one piece of the file.
const CHUNK: usize = 64 * 1024;

/// What the spine gathered.
#[derive(Default)]
pub struct Gathered {
    /// Which run, and why.
    pub head: pb::BundleHead,
    /// Decision documents by id.
    pub decisions: HashMap<String, pb::DecisionDocument>,
    /// What could not be gathered.
    pub missing: Vec<pb::BundleMissing>,
}

/// A bundle that is being filled.
struct Filling {
    builder: Builder,
    bytes: usize,
    decisions: Vec<String>,
}

impl Filling {
    fn push(&mut self, section: &str, item: Item) -> Result<(), Fault> {
        self.bytes += item.bytes.len();
        if self.bytes > MAX_BYTES {
            return Err(Fault::new(&mesh::MESSAGE_TOO_LARGE, "the bundle would be larger than 256 MiB"));
        }
        self.builder.push(section, item);
        Ok(())
    }
}

impl App {
    /// The file of a run's bundle, in pieces of at most 64 KiB.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED for an open trace that was not allowed, TRACE_PURGED, MESSAGE_TOO_LARGE, KEY_UNAVAILABLE, or when
    /// the store can't be read.
    pub async fn build_bundle(
        &self,
        tenant_id: &str,
        mut gathered: Gathered,
    ) -> Result<impl Iterator<Item = Vec<u8>> + Send + use<>, Fault> {
        let run_id = gathered.head.run_id.clone();
        let rows = traces::of_run(self.db.read(), tenant_id, &run_id, 0).await?;
        let views = self.with_seals(rows).await?;
        views.iter().try_for_each(|view| kept(&view.row))?;
        let open = sealed(&views, gathered.head.allow_open)?;
        let mut filling = Filling {
            builder: Builder::new(self.head(tenant_id, &gathered.head)),
            bytes: 0,
            decisions: Vec::new(),
        };
        self.frame(&mut filling).await?;
        for view in &views {
            self.trace(&mut filling, view).await?;
        }
        for view in views.iter().filter(|view| view.row.addendum == 0) {
            self.attempt(&mut filling, view).await?;
        }
        self.ledger(&mut filling, tenant_id, &run_id).await?;
        decisions(&mut filling, &mut gathered)?;
        let Filling { mut builder, .. } = filling;
        if let Some(attempt) = open {
            builder.missing("seal", BundleMissingStatus::Absent, &format!("attempt {attempt} is open"));
        }
        for missing in gathered.missing {
            let status = BundleMissingStatus::try_from(missing.status).unwrap_or(BundleMissingStatus::Error);
            builder.missing(&missing.section, status, &missing.reason);
        }
        let signer = self.keyring.signer(KeyPurpose::Export)?;
        let sign = |manifest: &[u8]| Ok((signer.key_id.clone(), signer.sign(Signed::Bundle, manifest)));
        Ok(chunks(builder.finish::<Fault>(sign)?))
    }

    /// Refuses a run that could not be bundled as it stands.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, TRACE_PURGED, or when the store can't be read.
    pub async fn refuse_open(&self, tenant_id: &str, run_id: &str) -> Result<(), Fault> {
        let rows = traces::of_run(self.db.read(), tenant_id, run_id, 0).await?;
        rows.iter().try_for_each(kept)?;
        sealed(&self.with_seals(rows).await?, false).map(drop)
    }

    /// The run's ledger entries, each with its path to the newest checkpoint, and that checkpoint.
    async fn ledger(&self, filling: &mut Filling, tenant_id: &str, run_id: &str) -> Result<(), Fault> {
        let log = Log::Ledger(tenant_id.to_owned());
        let rows = chains::ledger_links(self.db.read(), tenant_id, run_id).await?;
        let newest = checkpoint::newest(self.db.read(), &log, u64::MAX).await?;
        let size = newest.as_ref().map_or(0, |newest| newest.tree_size);
        let places: Vec<u64> = rows.iter().map(|row| row.seq - 1).filter(|place| *place < size).collect();
        let tree = self.notary.tree(&log, &[size], &places).await?;
        let bare = rows.len() - places.len();
        for row in rows {
            let path = tree.inclusion(row.seq - 1, size);
            // Who has no path has no link to lead to it.
            let link = path.is_some().then_some(row.link);
            filling
                .push("ledger", Item { t: "entry".to_owned(), bytes: row.entry, link, ..Item::default() })?;
            if let Some(path) = path {
                let previous = row.previous.unwrap_or_else(|| chain::ledger_start(tenant_id));
                let bytes = encode(&pb::LedgerInclusion {
                    seq: row.seq,
                    tree_size: size,
                    previous_link: previous.to_vec().into(),
                    hashes: path.into_iter().map(|hash| hash.to_vec().into()).collect(),
                });
                filling
                    .push("ledger", Item { t: "path".to_owned(), bytes: bytes.into(), ..Item::default() })?;
            }
        }
        if let Some(newest) = newest {
            let (note, _) = self.notary.cosigned(&log, &newest).await?;
            filling
                .push("checkpoint", Item { t: "note".to_owned(), bytes: note.into(), ..Item::default() })?;
        }
        if bare > 0 {
            let reason = format!("no checkpoint covers {bare} of the ledger entries");
            filling.builder.missing("checkpoint", BundleMissingStatus::Absent, &reason);
        }
        Ok(())
    }

    fn head(&self, tenant_id: &str, head: &pb::BundleHead) -> Head {
        let bundle_id = if head.bundle_id.is_empty() { new_id() } else { head.bundle_id.clone() };
        Head {
            bundle_id,
            tenant_id: tenant_id.to_owned(),
            run_id: head.run_id.clone(),
            created_at: self.clock.now(),
            created_by: head.created_by.clone(),
            exporter: concat!("runspine-logs/", env!("CARGO_PKG_VERSION")).to_owned(),
            reason: head.reason.clone(),
        }
    }

    /// What lets a stranger read the file: the schema and the public keys.
    async fn frame(&self, filling: &mut Filling) -> Result<(), Fault> {
        let bytes = Bytes::from_static(contracts_logs::DESCRIPTORS);
        filling.push("schema", Item { t: "descriptor_set".to_owned(), bytes, ..Item::default() })?;
        for row in keys::all(self.db.read()).await? {
            let key = crate::rpc::key(row);
            let bytes = Bytes::from(key.encode_to_vec());
            filling.push("keys", Item { t: key.key_id, bytes, ..Item::default() })?;
        }
        Ok(())
    }

    async fn trace(&self, filling: &mut Filling, view: &TraceView) -> Result<(), Fault> {
        let row = &view.row;
        let item = |t: &str, bytes: Bytes, link| Item {
            t: t.to_owned(),
            attempt: Some(row.attempt),
            addendum: Some(row.addendum),
            bytes,
            link,
        };
        filling.push("trace", item("header", row.header.clone(), Some(row.link)))?;
        let mut after = 0;
        // An open trace may grow meanwhile: the file ends where its head was.
        while after < row.record_count {
            let left = i64::try_from(row.record_count - after).unwrap_or(PAGE);
            let page = records::page(self.db.read(), row.trace_key, after, left.min(PAGE)).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            for record in page {
                if record.body == Body::Decision as i32 {
                    filling.decisions.extend(record.reference);
                }
                filling.push("trace", item("record", record.record, Some(record.link)))?;
            }
        }
        if let Some(seal) = &view.seal {
            filling.push("seal", item("seal", seal.seal.clone(), None))?;
            filling.push("seal", item("signature", seal.signature.clone(), None))?;
        }
        Ok(())
    }

    /// The contract and the evidence of an attempt.
    async fn attempt(&self, filling: &mut Filling, view: &TraceView) -> Result<(), Fault> {
        let row = &view.row;
        let of = (row.tenant_id.as_str(), row.run_id.as_str(), row.attempt);
        let item = |t: &str, bytes, link| Item {
            t: t.to_owned(),
            attempt: Some(row.attempt),
            addendum: None,
            bytes,
            link: Some(link),
        };
        for (entry, link) in chains::contract_links(self.db.read(), of).await? {
            filling.push("contract", item("entry", entry, link))?;
        }
        for (evidence, link) in chains::evidence_links(self.db.read(), of).await? {
            filling.push("evidence", item("item", evidence, link))?;
        }
        Ok(())
    }
}

/// Refuses a run without a trace, and one whose trace is open unless that is allowed; gives the open attempt.
fn sealed(views: &[TraceView], allow_open: bool) -> Result<Option<u32>, Fault> {
    let Some(first) = views.first() else {
        return Err(Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this run"));
    };
    let open = views.iter().find(|view| view.seal.is_none()).map(|view| view.row.attempt);
    match open {
        Some(attempt) if !allow_open => {
            let subject = format!("runs/{}/attempts/{attempt}/trace", first.row.run_id);
            let message = "the trace is open; set allow_open to bundle what there is";
            Err(Fault::new(&reasons::NOT_SEALED, message).precondition(subject, "is sealed"))
        }
        open => Ok(open),
    }
}

/// The documents of the decisions on the traces, in the order of the traces; what has none is named.
fn decisions(filling: &mut Filling, gathered: &mut Gathered) -> Result<(), Fault> {
    let (wanted, mut without) = (std::mem::take(&mut filling.decisions), 0);
    let count = wanted.len();
    for id in wanted {
        let Some(document) = gathered.decisions.remove(&id) else {
            without += 1;
            continue;
        };
        let row = Item { t: id.clone(), bytes: document.row_json.into(), ..Item::default() };
        filling.push("decision", row)?;
        if !document.inputs.is_empty() {
            let t = format!("{id}.inputs");
            filling.push("decision", Item { t, bytes: document.inputs, ..Item::default() })?;
        }
    }
    if without > 0 {
        let reason = format!("{without} of {count} decisions have no document");
        filling.builder.missing("decision", BundleMissingStatus::Absent, &reason);
    }
    Ok(())
}

/// Lines in pieces of at most 64 KiB.
fn chunks(mut lines: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    let mut rest: Vec<u8> = Vec::new();
    std::iter::from_fn(move || {
        while rest.len() < CHUNK {
            match lines.next() {
                Some(line) => rest.extend_from_slice(&line),
                None => break,
            }
        }
        if rest.is_empty() {
            return None;
        }
        let tail = rest.split_off(rest.len().min(CHUNK));
        Some(std::mem::replace(&mut rest, tail))
    })
}
