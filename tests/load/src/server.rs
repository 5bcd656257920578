//! Processes that are measured: the all-in-one, and the echo.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use contracts_spine::v1::GetRunRequest;
use runspine_types::new_id;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};
use tonic::Code;

use crate::{measure::Outcome, storage::Storage, wire::Wire};

const PATIENCE: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(20);

/// A child that listens.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: String,
    /// Its process.
    pub pid: u32,
}

impl Server {
    /// Starts it and waits until it says where it listens.
    pub async fn spawn(mut command: Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("the server ended at once")?;
        let out = child.stdout.take().ok_or("the server has no standard output")?;
        let mut lines = BufReader::new(out).lines();
        let address = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(address) = line.strip_prefix("listening on ") {
                    return Ok(address.to_owned());
                }
            }
            Err("the server ended before it listened; see serve.log".into())
        });
        let address = address.await.map_err(|_| "the server did not listen within a minute")?;
        address.map(|address| Self { child, address, pid })
    }

    /// The echo, from this binary.
    pub async fn echo() -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("echo");
        Self::spawn(command).await
    }

    /// Ends it as an operator would, and waits until it has drained.
    pub async fn stop(mut self) -> Outcome<()> {
        let asked = Command::new("kill").arg("-TERM").arg(self.pid.to_string()).status().await?;
        if !asked.success() || timeout(DRAIN, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}

/// The all-in-one that is measured, with its data and a key.
pub struct Mesh {
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
    storage: Storage,
    /// The API key.
    pub key: String,
}

impl Mesh {
    /// A mesh over an empty folder.
    pub async fn new(binary: PathBuf, work: &Path, storage: Storage) -> Outcome<Self> {
        let data = work.join("data");
        let mut make = Command::new(&binary);
        make.arg("keys").arg("--data").arg(&data);
        make.args(["create", "--actor", "load", "--role", "OWNER", "--kind", "HUMAN"]);
        let made = make.output().await?;
        let text = String::from_utf8_lossy(&made.stdout).into_owned();
        let key = text.lines().next().filter(|_| made.status.success());
        let key = key.ok_or_else(|| String::from_utf8_lossy(&made.stderr).into_owned())?.to_owned();
        Ok(Self { binary, data, log: work.join("serve.log"), storage, key })
    }

    /// Starts it. The time runs from the start of the process to the first answered call.
    pub async fn start(&self, run_id: Option<&str>) -> Outcome<(Server, Duration)> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&self.data).args(["--listen", "127.0.0.1:0"]);
        for set in [
            "telemetry.log=warn",
            "spine.door.rate_per_minute=100000000",
            "spine.door.burst=1000000",
            "spine.door.start_rate=100000000",
            "controls.guardrails.key_minute_requests=1000000000",
            "controls.guardrails.tenant_day_requests=1000000000",
            "controls.guardrails.agent_day_cost=1000000000000",
        ] {
            command.args(["--set", set]);
        }
        if let Some(set) = self.storage.setting() {
            command.args(["--set", &set]);
        }
        command.stderr(File::options().create(true).append(true).open(&self.log)?);
        let begun = Instant::now();
        let server = Server::spawn(command).await?;
        let wire = Wire::connect(&server.address, &self.key, 1).await?;
        loop {
            let run_id = run_id.map_or_else(new_id, str::to_owned);
            let request = GetRunRequest { run_id, ..GetRunRequest::default() };
            match wire.client(0).get_run(request).await {
                Ok(_) => break,
                Err(status) if status.code() == Code::NotFound => break,
                Err(status) if status.code() != Code::Unavailable || begun.elapsed() > PATIENCE => {
                    return Err(status.into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        Ok((server, begun.elapsed()))
    }
}

/// How the domain whose binary lies beside `binary` is started, over an empty folder.
pub fn domain_command(binary: &Path, work: &Path, name: &str, set: &[&str]) -> Outcome<Command> {
    let folder = binary.parent().ok_or("the server lies in no folder")?;
    let mut command = Command::new(folder.join(format!("runspine-{name}")));
    command.arg("--data").arg(work.join("data").join(name)).args(["--listen", "127.0.0.1:0"]);
    for set in set.iter().copied().chain(["telemetry.log=warn"]) {
        command.args(["--set", set]);
    }
    command.stderr(File::options().create(true).append(true).open(work.join("serve.log"))?);
    Ok(command)
}

/// The server beside this binary, built with the same profile, and the domains that are measured alone.
pub async fn build() -> Outcome<PathBuf> {
    let own = env::current_exe()?;
    let folder = own.parent().ok_or("this binary lies in no folder")?;
    let profile = match folder.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--quiet", "--profile", profile]);
    command.args(["-p", "runspine", "-p", "runspine-controls", "-p", "runspine-logs"]);
    if !command.status().await?.success() {
        return Err("runspine can't be built".into());
    }
    Ok(folder.join("runspine"))
}
