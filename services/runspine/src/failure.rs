//! Why a command failed, as a person reads it.

use std::{fmt, io::Write as _, process::ExitCode};

use runspine_boot::BootError;
use tonic::Status;

/// A command's failure: what to say and how to exit.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// The command line or a file is wrong: exit code 2.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 2 }
    }

    /// The work failed: exit code 1.
    pub fn work(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 1 }
    }

    /// The system refused something.
    pub fn system(what: &str, error: &std::io::Error) -> Self {
        Self::work(format!("{what}: {error}"))
    }

    /// The output can't be written.
    pub fn output(error: std::io::Error) -> Self {
        Self::system("the output can't be written", &error)
    }

    /// Tells it and gives the exit code.
    pub fn tell(self) -> ExitCode {
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "runspine: {}", self.text);
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<BootError> for Failure {
    fn from(error: BootError) -> Self {
        Self::work(error.to_string())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = runspine_rpc::details(&status);
        let mut text = format!("{:?}", status.code());
        if !details.reason.is_empty() {
            text = format!("{text} {}", details.reason);
        }
        text = format!("{text}: {}", status.message());
        for (field, what) in details.fields {
            text = format!("{text}\n  {field}: {what}");
        }
        for (key, value) in details.metadata {
            text = format!("{text}\n  {key} = {value}");
        }
        Self::work(text)
    }
}
