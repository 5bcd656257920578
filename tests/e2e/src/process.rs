//! One process of the mesh.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::binary;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// Ports below the ones that the system gives to outgoing connections, so that only a listener can have taken one.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A process of the mesh: what it was started with, and whether it runs. It is killed when dropped.
pub struct Process {
    name: String,
    arguments: Vec<String>,
    address: SocketAddr,
    output: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process that is not started yet. `output` gets what it prints.
    #[must_use]
    pub fn new(name: &str, arguments: Vec<String>, address: SocketAddr, output: &Path) -> Self {
        let output = output.join(format!("{name}.log"));
        Self { name: name.to_owned(), arguments, address, output, child: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it without waiting for it.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(&mut self) {
        let out =
            File::options().create(true).append(true).open(&self.output).expect("the output can be kept");
        let copy = out.try_clone().expect("a file handle can be copied");
        let mut command = Command::new(binary(&self.name));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(out).stderr(copy);
        // What the tester's own shell configures is no part of the test.
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("RUNSPINE_")) {
            command.env_remove(key);
        }
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{} can't be started: {e}", self.name)));
    }

    /// Waits until everything that it serves is healthy.
    ///
    /// # Panics
    /// When it ends, or is not ready in time; with what it printed.
    pub async fn ready(&mut self) {
        let begun = Instant::now();
        while !self.is_serving().await {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status}:\n{}", self.name, self.printed());
            }
            assert!(begun.elapsed() < PATIENCE, "{} is not ready:\n{}", self.name, self.printed());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn is_serving(&self) -> bool {
        let address = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        let Ok(channel) = address.connect().await else { return false };
        let request = HealthCheckRequest { service: String::new() };
        let answer = HealthClient::new(channel).check(request).await;
        answer.is_ok_and(|a| a.into_inner().status() == ServingStatus::Serving)
    }

    /// Its exit status, when it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Ends it as `kill -9` does: nothing is flushed, nobody is told. Returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop with SIGTERM and waits until it has drained.
    ///
    /// # Panics
    /// When it does not run, or does not end in time.
    pub async fn terminate(&mut self) -> ExitStatus {
        let id = self.id().expect("the process runs").to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(told.success(), "{} could not be told to stop", self.name);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                self.child = None;
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{} does not stop:\n{}", self.name, self.printed());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it has printed since its first start.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that nobody listens on, the same after a restart of who takes it.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let width = PORTS.end - PORTS.start;
    // Tests run in processes of their own: each begins elsewhere.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(width)).unwrap_or(0);
    for _ in 0..width {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + begin.wrapping_add(step) % width));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
