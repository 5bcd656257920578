//! `runspine verify` and `runspine export`: evidence that travels.

use std::{
    fs::File,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use contracts_logs::v1::{ListKeysRequest, key_service_client::KeyServiceClient};
use contracts_spine::v1::{ExportRunBundleRequest, run_bundle_service_client::RunBundleServiceClient};
use runspine_logs_domain::{
    bundle::{Against, Options, Report, verify_bundle},
    keys::{TrustedKey, parse_verifier_key},
};
use runspine_types::{Digest, new_id};

use crate::{
    failure::Failure,
    replay::client::{Endpoint, Mesh},
};

/// Flags of `runspine verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The bundle, `*.runspine.jsonl`.
    file: PathBuf,
    /// File with a public key that is trusted; can be given several times.
    #[arg(long = "trust", value_name = "KEYFILE")]
    trust: Vec<PathBuf>,
    /// The tenant that the bundle must belong to.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// A checkpoint that you hold (a signed note): the bundle's log must be the same and only have grown.
    #[arg(long, value_name = "CHECKPOINT")]
    against: Option<PathBuf>,
    /// Consistency proof between that checkpoint and the bundle's, one base64 hash a line; not needed for equal sizes.
    #[arg(long, value_name = "FILE", requires = "against")]
    consistency: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Flags of `runspine export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run.
    run_id: String,
    /// Where to write the bundle. Default `<run>.runspine.jsonl`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Checks a bundle. Exit code 0 VERIFIED, 1 FAILED, 2 unreadable or of a newer format, 3 UNTRUSTED, 4 UNSEALED.
pub fn verify(args: &VerifyArgs) -> ExitCode {
    match report(args) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

/// The keys of the files that somebody vouches for.
pub fn trusted(files: &[PathBuf]) -> Result<Vec<TrustedKey>, Failure> {
    let mut trusted = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
        let keys: Vec<_> = text.lines().filter_map(parse_verifier_key).collect();
        if keys.is_empty() {
            return Err(Failure::usage(format!("{}: no verifier key", path.display())));
        }
        trusted.extend(keys);
    }
    Ok(trusted)
}

/// A file that can't be read.
pub fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

fn report(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let trusted = trusted(&args.trust)?;
    let file = File::open(&args.file).map_err(|e| unreadable(&args.file, e))?;
    let options = Options { trusted, tenant_id: args.tenant.clone(), against: against(args)? };
    let report = verify_bundle(BufReader::new(file), &options).map_err(|e| unreadable(&args.file, e))?;
    let text = if args.json { as_json(&report) } else { as_text(&report) };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::output)?;
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn against(args: &VerifyArgs) -> Result<Option<Against>, Failure> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
    };
    let Some(note) = args.against.as_ref().map(read).transpose()? else { return Ok(None) };
    let lines = args.consistency.as_ref().map(read).transpose()?.unwrap_or_default();
    let hash = |line: &str| {
        let bytes = STANDARD.decode(line.trim()).ok();
        bytes
            .and_then(|bytes| Digest::from_slice(&bytes))
            .ok_or_else(|| Failure::usage(format!("{line:?} is not the base64 of 32 bytes")))
    };
    let consistency = lines.lines().map(hash).collect::<Result<_, _>>()?;
    Ok(Some(Against { note, consistency }))
}

fn as_json(report: &Report) -> String {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| serde_json::json!({"code": f.code, "at": f.at, "warning": f.warning}))
        .collect();
    let manifest = report.manifest.clone().unwrap_or_default();
    serde_json::json!({
        "verdict": report.verdict.word(),
        "tenant_id": manifest.tenant_id,
        "run_id": manifest.run_id,
        "traces": report.proofs.len(),
        "records": report.proofs.iter().map(|p| p.record_count).sum::<u64>(),
        "lines": report.lines,
        "findings": findings,
    })
    .to_string()
}

fn as_text(report: &Report) -> String {
    let manifest = report.manifest.clone().unwrap_or_default();
    let records: u64 = report.proofs.iter().map(|p| p.record_count).sum();
    let mut text = format!(
        "{}: run {} of tenant {}, {} trace(s) with {records} record(s), {} lines",
        report.verdict.word(),
        manifest.run_id,
        manifest.tenant_id,
        report.proofs.len(),
        report.lines,
    );
    for finding in &report.findings {
        let kind = if finding.warning { "warning" } else { "failure" };
        text = format!("{text}\n  {kind} {} {}", finding.code, finding.at);
    }
    let limits = "A bundle shows what was recorded and that nobody changed it since it was sealed. It can't show that the \
                  agent told the truth, nor anything at all if the signing key was stolen and no checkpoint left the \
                  house before.";
    format!("{text}\n{limits}")
}

/// Prints the public keys of a mesh, as `runspine verify --trust` reads them.
pub async fn trust(endpoint: Endpoint) -> Result<(), Failure> {
    let mesh = endpoint.open().await?;
    let keys = trusted_keys(&mesh).await?;
    mesh.close().await;
    std::io::stdout().write_all(keys.as_bytes()).map_err(Failure::output)
}

/// The public keys of a mesh, one a line.
pub async fn trusted_keys(mesh: &Mesh) -> Result<String, Failure> {
    let mut client = KeyServiceClient::with_interceptor(mesh.channel(), mesh.credential());
    let keys = client.list_keys(ListKeysRequest::default()).await?.into_inner().keys;
    Ok(keys.into_iter().map(|k| format!("{}\n", k.verifier_key)).collect())
}

/// Writes the bundle of a run to a file.
pub async fn export(args: ExportArgs) -> Result<(), Failure> {
    let mesh = args.endpoint.open().await?;
    let path = args.out.unwrap_or_else(|| PathBuf::from(format!("{}.runspine.jsonl", args.run_id)));
    let request = ExportRunBundleRequest {
        request_id: new_id(),
        run_id: args.run_id,
        reason: "runspine export".to_owned(),
        allow_open: false,
    };
    let mut client = RunBundleServiceClient::with_interceptor(mesh.channel(), mesh.credential());
    let mut pieces = client.export_run_bundle(request).await?.into_inner();
    let failed = |e| Failure::system(&path.display().to_string(), &e);
    let beside = path.with_extension("part");
    let mut file = File::create(&beside).map_err(failed)?;
    while let Some(piece) = pieces.message().await? {
        file.write_all(&piece.chunk).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    std::fs::rename(&beside, &path).map_err(failed)?;
    mesh.close().await;
    writeln!(std::io::stdout(), "{}", path.display()).map_err(Failure::output)
}
