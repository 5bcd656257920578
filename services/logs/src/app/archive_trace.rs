//! Archives a run: its bundle in a file that was read back and verified, and a note that it is there.

use std::{
    fs::{self, File},
    io::{self, BufReader, Write as _},
    path::{Path, PathBuf},
};

use contracts_common::common::v1::CallContext;
use contracts_logs::v1 as pb;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    bundle::{Options, Report, Verdict, verify_bundle},
    keys::parse_verifier_key,
    reasons,
};
use runspine_types::{Digest, Micros, hash, new_id};

use super::{
    App,
    announce::announce,
    audit::told::{Caused, Told},
    build_bundle::Gathered,
    certificates::verified,
};
use crate::{
    publish::sync_folder,
    rpc,
    store::{
        archives::{self, ArchiveRow},
        checkpoint::Log,
        keys,
        traces::TraceRow,
    },
};

/// Attempts that are looked at together by whoever archives what is old enough.
const TOGETHER: i64 = 100;

impl App {
    /// Archives an attempt (0: the latest). What is archived already stays where it is.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, PROOF_NOT_VERIFIED, STORE_UNAVAILABLE when the file can't be written, or when the
    /// store can't be read or written.
    pub async fn archive_trace(
        &self,
        call: &CallContext,
        run_id: &str,
        attempt: u32,
    ) -> Result<(u32, ArchiveRow), Fault> {
        let tenant_id = call.tenant_id.as_str();
        let main = self.find_trace(tenant_id, run_id, attempt, 0).await?;
        if let Some(row) = archives::of_many(self.db.read(), &[main.trace_key]).await?.pop() {
            return Ok((main.attempt, row));
        }
        verified(&self.verify_trace(tenant_id, run_id, main.attempt).await?)?;
        // So that every entry of the run in the file leads to a checkpoint.
        self.notary.sign(&Log::Ledger(tenant_id.to_owned())).await?;
        let bundle_id = new_id();
        // Named by its bundle, so that two that archive one attempt at once don't write one file.
        let location = format!("{tenant_id}/{run_id}.{}.{bundle_id}.runspine.jsonl", main.attempt);
        let head = pb::BundleHead {
            run_id: run_id.to_owned(),
            bundle_id,
            created_by: Caused::by(call).actor_id().to_owned(),
            reason: "archive".to_owned(),
            // A later attempt may go on.
            allow_open: true,
        };
        let gathered = Gathered { head, ..Gathered::default() };
        let pieces: Vec<Vec<u8>> = self.build_bundle(tenant_id, gathered).await?.collect();
        let options = self.own_keys(tenant_id).await?;
        let file = self.archive.join(&location);
        let own = file.clone();
        let written = tokio::task::spawn_blocking(move || write(&own, &pieces, &options)).await;
        let (bundle_digest, size) = written
            .map_err(|error| Fault::new(&mesh::INTERNAL, "the archive was not written").caused_by(error))??;
        let archived_at = self.clock.now();
        let row = ArchiveRow { trace_key: main.trace_key, location, bundle_digest, size, archived_at };
        let own = row.location.clone();
        let noted = self.note_archive(call, &main, row).await?;
        if noted.1.location != own
            && let Err(error) = fs::remove_file(&file)
        {
            tracing::warn!(run_id, %error, "a second bundle of an archived attempt could not be removed");
        }
        Ok(noted)
    }

    /// Notes the archive, unless somebody archived the attempt meanwhile: then that one.
    async fn note_archive(
        &self,
        call: &CallContext,
        main: &TraceRow,
        row: ArchiveRow,
    ) -> Result<(u32, ArchiveRow), Fault> {
        let (main, caused, now) = (main.clone(), Caused::by(call), row.archived_at);
        let (attempt, trace_key, noted) = (main.attempt, main.trace_key, row.clone());
        let first = self
            .db
            .write("archive_trace", move |tx| {
                Box::pin(async move {
                    if !archives::insert(tx, &row).await? {
                        return Ok(false);
                    }
                    let data = pb::TraceArchived {
                        run_id: main.run_id.clone(),
                        attempt: main.attempt,
                        trace_id: main.trace_id.clone(),
                        location: row.location,
                        bundle_digest: row.bundle_digest.to_vec().into(),
                    };
                    let told = Told {
                        name: "TraceArchived",
                        data: &data,
                        tenant_id: &main.tenant_id,
                        run_id: &main.run_id,
                        attempt: main.attempt,
                        step_index: None,
                        entity: ("trace", main.trace_id.clone()),
                        reason: "",
                    };
                    announce(tx, told, Some(row.bundle_digest), &caused, now).await?;
                    Ok(true)
                })
            })
            .await?;
        let other = if first { None } else { archives::of_many(self.db.read(), &[trace_key]).await?.pop() };
        Ok((attempt, other.unwrap_or(noted)))
    }

    /// Archives what was sealed before `before`; says how many attempts. One that can't be archived is told and left, and
    /// holds up no other.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn archive_due(&self, before: Micros) -> Result<usize, Fault> {
        let (mut done, mut after) = (0, (Micros(i64::MIN), 0));
        loop {
            let due = archives::due(self.db.read(), before, after, TOGETHER).await?;
            let Some(last) = due.last() else { return Ok(done) };
            after = (last.3, last.4);
            for (tenant_id, run_id, attempt, ..) in due {
                let call = CallContext { tenant_id, ..CallContext::default() };
                match self.archive_trace(&call, &run_id, attempt).await {
                    Ok(_) => done += 1,
                    Err(fault) => tracing::warn!(run_id, attempt, %fault, "an attempt can't be archived"),
                }
            }
        }
    }

    /// Reads a bundle of the archive and verifies it as a stranger would; none when it is not the file that was archived.
    ///
    /// # Errors
    /// When the file or the keys can't be read.
    pub async fn verify_archived(
        &self,
        tenant_id: &str,
        (location, digest): (&str, Digest),
    ) -> Result<Option<Report>, Fault> {
        let (file, options) = (self.archive.join(location), self.own_keys(tenant_id).await?);
        let read = tokio::task::spawn_blocking(move || {
            let bytes = fs::read(file)?;
            if hash(&bytes) != digest {
                return Ok(None);
            }
            verify_bundle(bytes.as_slice(), &options).map(Some)
        });
        let unread = |error: io::Error| {
            Fault::new(&mesh::STORE_UNAVAILABLE, "an archived bundle can't be read").caused_by(error)
        };
        read.await.map_err(io::Error::other).and_then(|read| read).map_err(unread)
    }

    /// What a bundle of this house is verified with.
    async fn own_keys(&self, tenant_id: &str) -> Result<Options, Fault> {
        let rows = keys::all(self.db.read()).await?;
        let trusted = rows.into_iter().filter_map(|row| parse_verifier_key(&rpc::key(row).verifier_key));
        Ok(Options { trusted: trusted.collect(), tenant_id: Some(tenant_id.to_owned()), against: None })
    }
}

/// Writes a file whole or not at all, reads it back and verifies it; gives its digest and size.
fn write(file: &Path, pieces: &[Vec<u8>], options: &Options) -> Result<(Digest, u64), Fault> {
    let broken = |error: io::Error| {
        Fault::new(&mesh::STORE_UNAVAILABLE, "the archive can't be written").caused_by(error)
    };
    let draft = draft(file, pieces).map_err(broken)?;
    let report =
        File::open(&draft).and_then(|read| verify_bundle(BufReader::new(read), options)).map_err(broken)?;
    // A run whose next attempt is still open is as good as can be known.
    if !matches!(report.verdict, Verdict::Verified | Verdict::Unsealed) {
        let found: Vec<&str> = report.findings.iter().filter(|f| !f.warning).map(|f| f.code).collect();
        fs::remove_file(&draft).map_err(broken)?;
        return Err(Fault::new(&reasons::PROOF_NOT_VERIFIED, "the bundle does not verify")
            .with("status", report.verdict.word())
            .with("findings", found.join(",")));
    }
    let bytes = fs::read(&draft).map_err(broken)?;
    fs::rename(&draft, file).and_then(|()| sync_folder(file)).map_err(broken)?;
    Ok((hash(&bytes), bytes.len() as u64))
}

fn draft(file: &Path, pieces: &[Vec<u8>]) -> io::Result<PathBuf> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = file.with_extension("tmp");
    let mut out = File::create_new(&draft)?;
    for piece in pieces {
        out.write_all(piece)?;
    }
    out.sync_all()?;
    Ok(draft)
}
