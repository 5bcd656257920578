//! `runspine verify-certificate`: what somebody was handed, judged without the mesh.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::Args;
use contracts_logs::v1::{CertificateStatus, KeyPurpose};
use runspine_logs_domain::certificate::{Read, judge};
use runspine_types::{Clock as _, SystemClock};

use crate::{
    failure::Failure,
    verify::{trusted, unreadable},
};

/// Flags of `runspine verify-certificate`.
#[derive(Debug, Args)]
pub struct CertificateArgs {
    /// The certificate, in any of its formats.
    file: PathBuf,
    /// File with a public key that is trusted, as `runspine trust` prints it; can be given several times.
    #[arg(long = "trust", value_name = "KEYFILE", required = true)]
    trust: Vec<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks a certificate. Exit code 0 VALID, 1 BAD_SIGNATURE or MALFORMED, 2 unreadable, 3 UNKNOWN_KEY, 4 EXPIRED.
pub fn verify(args: &CertificateArgs) -> ExitCode {
    match report(args) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

fn report(args: &CertificateArgs) -> Result<ExitCode, Failure> {
    let keys = trusted(&args.trust)?;
    let text = std::fs::read_to_string(&args.file).map_err(|e| unreadable(&args.file, e))?;
    let trusted = keys.iter().filter(|key| key.purpose == KeyPurpose::Certificate);
    let known: Vec<[u8; 32]> = trusted.map(|key| key.public_key).collect();
    // Whether the certificate was revoked only the mesh knows; whether its key was stands in the file of keys.
    let revoked = |read: &Read| keys.iter().any(|key| key.revoked && key.key_id == read.key_id);
    let (status, read) = judge(&text, SystemClock.now(), &known, revoked);
    let said = if args.json { as_json(status, read) } else { as_text(status, read) };
    writeln!(std::io::stdout(), "{said}").map_err(Failure::output)?;
    Ok(ExitCode::from(match status {
        CertificateStatus::Valid => 0,
        CertificateStatus::UnknownKey => 3,
        CertificateStatus::Expired => 4,
        _ => 1,
    }))
}

fn word(status: CertificateStatus) -> &'static str {
    status.as_str_name().trim_start_matches("CERTIFICATE_STATUS_")
}

/// What it states is shown only when its signature is good.
fn stated(status: CertificateStatus, read: Option<Read>) -> Option<Read> {
    read.filter(|_| matches!(status, CertificateStatus::Valid | CertificateStatus::Expired))
}

fn as_json(status: CertificateStatus, read: Option<Read>) -> String {
    let payload = stated(status, read).and_then(|read| serde_json::from_str(&read.payload).ok());
    let payload: serde_json::Value = payload.unwrap_or_default();
    serde_json::json!({"status": word(status), "certificate": payload}).to_string()
}

fn as_text(status: CertificateStatus, read: Option<Read>) -> String {
    let limits = "A certificate says what was checked when it was issued. Whether it was revoked since only the mesh knows: \
                  ask VerifyCertificate.";
    match stated(status, read) {
        Some(read) => format!("{}: {}\n{limits}", word(status), read.payload),
        None => format!("{}\n{limits}", word(status)),
    }
}
