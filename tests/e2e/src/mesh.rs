//! The mesh as processes over one data folder.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use runspine_spine::door::issue::{self, NewKey};
use runspine_testkit::eventually;
use runspine_types::{PLATFORM_TENANT, hash, new_id};
use tempfile::TempDir;
use tonic::Code;

use crate::{
    client::Client,
    process::{PATIENCE, Process, free_address},
};

/// The domains that have a process of their own.
pub const DOMAINS: [&str; 5] = ["activity", "incidents", "policies", "logs", "controls"];

/// How the mesh is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `runspine serve`: one process, named `runspine`.
    AllInOne,
    /// Six processes, named `runspine-<domain>` and `runspine-spine`.
    Separate,
}

/// How a mesh is to be started.
#[derive(Debug, Clone)]
pub struct Setup {
    shape: Shape,
    profile: String,
    settings: Vec<(String, String)>,
}

/// A running mesh, with a key of an owner of its first tenant.
pub struct Mesh {
    folder: TempDir,
    processes: BTreeMap<String, Process>,
    door: String,
    tenant: String,
    owner: String,
}

impl Setup {
    /// The governance profile: STRICT, STANDARD (default) or OBSERVE_ONLY.
    #[must_use]
    pub fn profile(mut self, name: &str) -> Self {
        name.clone_into(&mut self.profile);
        self
    }

    /// A setting, e.g. `spine.kernel.drain_ms`. It is given to the processes that know it.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts the mesh in a new folder and waits until all of it is healthy.
    pub async fn start(self) -> Mesh {
        let folder = TempDir::new().expect("a temporary folder");
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).expect("the data folder");
        let tenant = new_id();
        let owner = issue::issue(&data, person(&tenant, "tester", "OWNER"), false).await.expect("a key");
        if self.profile == "STRICT" {
            self.make_keys(&data, folder.path()).await;
        }
        let processes = match self.shape {
            Shape::AllInOne => self.all_in_one(&data, folder.path()),
            Shape::Separate => self.separate(&data, folder.path()),
        };
        let door = if self.shape == Shape::AllInOne { "runspine" } else { "runspine-spine" };
        let mut mesh = Mesh { folder, processes, door: door.to_owned(), tenant, owner };
        mesh.start_all().await;
        mesh
    }

    /// STRICT makes no signing keys; another profile does at its first start.
    async fn make_keys(&self, data: &Path, output: &Path) {
        let first = Self { profile: "STANDARD".to_owned(), ..self.clone() };
        let address = free_address();
        let arguments = first.arguments(data, address, |section| section == "logs");
        let mut logs = Process::new("runspine-logs", arguments, address, output);
        logs.spawn();
        logs.ready().await;
        logs.terminate().await;
    }

    fn all_in_one(&self, data: &Path, output: &Path) -> BTreeMap<String, Process> {
        let address = free_address();
        let mut arguments = vec!["serve".to_owned()];
        arguments.extend(self.arguments(data, address, |_| true));
        [("runspine".to_owned(), Process::new("runspine", arguments, address, output))].into()
    }

    fn separate(&self, data: &Path, output: &Path) -> BTreeMap<String, Process> {
        let key = hash(new_id().as_bytes()).to_hex();
        let shared = ["--set".to_owned(), format!("mesh.key={key}")];
        let mut targets = Vec::new();
        let mut processes = BTreeMap::new();
        for domain in DOMAINS {
            let (name, address) = (format!("runspine-{domain}"), free_address());
            let mut arguments = self.arguments(data, address, |section| section == domain);
            arguments.extend(shared.clone());
            targets.extend(["--set".to_owned(), format!("mesh.targets.{domain}=http://{address}")]);
            processes.insert(name.clone(), Process::new(&name, arguments, address, output));
        }
        let (name, address) = ("runspine-spine".to_owned(), free_address());
        let mut arguments = self.arguments(data, address, |section| section == "spine");
        arguments.extend(shared);
        arguments.extend(targets);
        processes.insert(name.clone(), Process::new(&name, arguments, address, output));
        processes
    }

    /// The flags of a process that owns the sections that `owns` says.
    fn arguments(&self, data: &Path, address: SocketAddr, owns: impl Fn(&str) -> bool) -> Vec<String> {
        let mut out = vec![
            "--data".to_owned(),
            data.display().to_string(),
            "--listen".to_owned(),
            address.to_string(),
            "--profile".to_owned(),
            self.profile.clone(),
        ];
        for (key, value) in &self.settings {
            let section = key.split('.').next().unwrap_or_default();
            let is_service = section == "spine" || DOMAINS.contains(&section);
            if !is_service || owns(section) {
                out.extend(["--set".to_owned(), format!("{key}={value}")]);
            }
        }
        out
    }
}

impl Mesh {
    /// A mesh to be started. The door's rates and the guardrails of steps are raised, so that a test meets them only when
    /// it sets them, and an evaluation may take longer than its 20 ms: these binaries are not optimized and the machine does other work.
    #[must_use]
    pub fn setup(shape: Shape) -> Setup {
        let settings = [
            ("telemetry.log", "warn"),
            ("spine.door.rate_per_minute", "1000000"),
            ("spine.door.burst", "100000"),
            ("spine.door.start_rate", "1000000"),
            ("controls.guardrails.key_minute_requests", "1000000"),
            ("controls.guardrails.tenant_day_requests", "10000000"),
            ("controls.guardrails.run_loop", "100000"),
            ("policies.evaluation_budget_ms", "200"),
            // STRICT wants a name of its own for what the mesh signs.
            ("logs.checkpoint.origin", "e2e.example"),
        ];
        let settings = settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Setup { shape, profile: "STANDARD".to_owned(), settings }
    }

    /// A mesh with every other setting at its default.
    pub async fn start(shape: Shape) -> Self {
        Self::setup(shape).start().await
    }

    /// The all-in-one with every other setting at its default.
    pub async fn all_in_one() -> Self {
        Self::start(Shape::AllInOne).await
    }

    async fn start_all(&mut self) {
        for process in self.processes.values_mut() {
            process.spawn();
        }
        for process in self.processes.values_mut() {
            process.ready().await;
        }
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The first tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The names of its processes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.processes.keys().cloned().collect()
    }

    /// One of its processes: `runspine` of the all-in-one, `runspine-<domain>` and `runspine-spine` of the other.
    ///
    /// # Panics
    /// When there is none with this name.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("no process {name}"))
    }

    /// Kills a process as `kill -9` does.
    pub fn kill(&mut self, name: &str) {
        self.process(name).kill();
    }

    /// Starts a process again at its old address and waits until it is healthy; kills it first when it still runs.
    pub async fn restart(&mut self, name: &str) {
        let process = self.process(name);
        process.kill();
        process.spawn();
        process.ready().await;
    }

    /// Where clients call.
    ///
    /// # Panics
    /// Never: every mesh has a door.
    #[must_use]
    pub fn door(&self) -> SocketAddr {
        self.processes.get(&self.door).expect("the door").address()
    }

    /// Calls as an owner of the first tenant.
    #[must_use]
    pub fn owner(&self) -> Client {
        self.client(&self.owner)
    }

    /// The key of an owner of the first tenant.
    #[must_use]
    pub fn owner_key(&self) -> &str {
        &self.owner
    }

    /// Calls with this key.
    #[must_use]
    pub fn client(&self, key: &str) -> Client {
        Client::new(self.door(), Some(key))
    }

    /// Calls without a key.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::new(self.door(), None)
    }

    /// Calls as somebody with a new key, once the door knows it.
    pub async fn somebody(&self, new: NewKey) -> Client {
        let key = issue::issue(&self.data(), new, false).await.expect("a key");
        let client = self.client(&key);
        let asked = contracts_spine::v1::ListOperationsRequest::default();
        eventually(PATIENCE, || async {
            let answer = client.operations().list_operations(asked.clone()).await;
            !answer.is_err_and(|status| status.code() == Code::Unauthenticated)
        })
        .await;
        client
    }

    /// Calls as a person of the first tenant in this role, who owns the key.
    pub async fn person(&self, name: &str, role: &str) -> Client {
        self.somebody(person(&self.tenant, name, role)).await
    }

    /// Calls as a person who runs the platform, beside all tenants.
    pub async fn platform(&self) -> Client {
        self.somebody(person(PLATFORM_TENANT, "olga", "PLATFORM_OPERATOR")).await
    }

    /// Calls as an owner of another tenant.
    pub async fn stranger(&self) -> Client {
        self.somebody(person(&new_id(), "stranger", "OWNER")).await
    }
}

fn person(tenant: &str, name: &str, role: &str) -> NewKey {
    NewKey {
        tenant: tenant.to_owned(),
        actor_kind: "HUMAN".to_owned(),
        actor: name.to_owned(),
        roles: vec![role.to_owned()],
        owner: name.to_owned(),
        ..NewKey::default()
    }
}
