//! What every service is given.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use directories::ProjectDirs;
use runspine_rpc::{Limits, Mesh, MeshKey, Registry, RemoteConfig, StackConfig, Transport};
use runspine_types::{Clock, Instance, StoreConfig, SystemClock};
use serde::{Deserialize, Serialize};

use crate::{Args, BootError, Profile, ProfileConfig, Settings, Telemetry, Tls, TlsConfig, telemetry};

/// The section `server`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where to listen. Default `127.0.0.1:7400`; port 0 takes a free one.
    pub listen: String,
    /// Where `/metrics`, `/livez` and `/readyz` are answered over plain HTTP, e.g. `127.0.0.1:9464`. Empty (default): nowhere.
    pub metrics_listen: String,
    /// Allows another than a loopback address without TLS. Default false.
    pub insecure: bool,
    /// The most calls in flight per service. 1 or more, default 2,048.
    pub in_flight: usize,
    /// How long open calls may take to finish at a stop, in milliseconds. Default 10,000.
    pub drain_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7400".to_owned(),
            metrics_listen: String::new(),
            insecure: false,
            in_flight: 2_048,
            drain_ms: 10_000,
        }
    }
}

/// The section `store`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreSection {
    /// The data folder. Default: where the user's data lives, e.g. `~/.local/share/runspine`.
    data: PathBuf,
    /// A PostgreSQL URL; empty (default) for the embedded stores in the data folder.
    url: String,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { data: default_data(), url: String::new() }
    }
}

/// The data folder when none is named.
#[must_use]
pub fn default_data() -> PathBuf {
    ProjectDirs::from("", "", "runspine")
        .map_or_else(|| PathBuf::from("runspine-data"), |d| d.data_dir().to_path_buf())
}

/// The section `mesh`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MeshSection {
    /// The shared key, 64 or more hex characters. Empty: a random one, which fits a single process only.
    key: String,
    /// Addresses of domains in other processes, e.g. `logs = "https://logs:7070"`. Read by the spine's process.
    targets: BTreeMap<String, String>,
}

/// What a service is built from. Cheap to clone.
#[derive(Clone)]
pub struct Deps {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where stores live.
    pub store: StoreConfig,
    /// The data folder, for what is not in a store.
    pub data: PathBuf,
    /// The governance profile in force.
    pub profile: Arc<Profile>,
    /// The mesh key and limits under which stacks are composed.
    pub stack: StackConfig,
    /// Whether the mesh key was configured, so that other processes can have the same.
    pub shared_key: bool,
    /// Addresses of domains in other processes, by domain.
    pub targets: BTreeMap<String, String>,
    /// Certificates of the listener and of outgoing calls.
    pub tls: Tls,
    /// What the process tells of itself.
    pub telemetry: Telemetry,
    /// The listener's settings.
    pub server: ServerConfig,
    /// Everything that was configured; a service reads its section from it.
    pub settings: Settings,
}

impl Deps {
    /// Collects the settings, reads the common sections and starts logging. On a runtime, when telemetry is exported.
    ///
    /// # Errors
    /// With everything wrong in them.
    pub fn load(args: &Args) -> Result<Self, BootError> {
        Self::from_settings(Settings::from_args(args)?)
    }

    /// The common sections of settings that were collected already.
    ///
    /// # Errors
    /// With everything wrong in them.
    pub fn from_settings(settings: Settings) -> Result<Self, BootError> {
        let mut problems = settings.problems().to_vec();
        let server: ServerConfig = kept(settings.section("server"), &mut problems)?;
        let store: StoreSection = kept(settings.section("store"), &mut problems)?;
        let mesh: MeshSection = kept(settings.section("mesh"), &mut problems)?;
        let tls: TlsConfig = kept(settings.section("tls"), &mut problems)?;
        let tls = kept(tls.load(), &mut problems)?;
        let telemetry: telemetry::TelemetryConfig = kept(settings.section("telemetry"), &mut problems)?;
        let profile: ProfileConfig = kept(settings.section("profile"), &mut problems)?;
        let profile = kept(Profile::resolve(&profile), &mut problems)?;
        let key = kept(mesh_key(&mesh.key).map(Some), &mut problems)?;
        let key = match key {
            Some(key) if problems.is_empty() => key,
            _ => return Err(BootError::Config(problems)),
        };
        let telemetry = telemetry::init(&telemetry, !server.metrics_listen.is_empty())?;
        let limits = Limits { in_flight: server.in_flight.max(1) };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Self {
            stack: StackConfig { key, clock: Arc::clone(&clock), limits },
            clock,
            store: store_of(&store),
            data: store.data,
            profile: Arc::new(profile),
            shared_key: !mesh.key.is_empty(),
            targets: mesh.targets,
            tls,
            telemetry,
            server,
            settings,
        })
    }

    /// Who serves.
    #[must_use]
    pub fn instance(&self) -> Instance {
        let version = env!("CARGO_PKG_VERSION");
        Instance { name: instance_name(), version, config_digest: self.profile.digest }
    }

    /// What a test needs: embedded stores in `dir`, the default profile, a free port.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn for_tests(dir: impl Into<PathBuf>) -> Result<Self, BootError> {
        let dir = dir.into();
        let flags = [
            ("server.listen".to_owned(), "127.0.0.1:0".to_owned()),
            ("store.data".to_owned(), dir.display().to_string()),
            ("telemetry.log".to_owned(), "warn".to_owned()),
        ];
        Self::from_settings(Settings::collect(None, std::iter::empty(), &flags)?)
    }

    /// The ways to the domains named in `mesh.targets`, for a spine in a process of its own.
    ///
    /// # Errors
    /// When an address is no URI, or targets are named without a key that they could share.
    pub fn remote_mesh(&self, registry: &Registry) -> Result<Mesh, BootError> {
        if !self.targets.is_empty() && !self.shared_key {
            let text = "services in other processes must have the same key: set it";
            return Err(BootError::config("mesh.key", "MESH_KEY_MISSING", text));
        }
        let mut mesh = Mesh::new();
        for (domain, address) in &self.targets {
            let key = format!("mesh.targets.{domain}");
            let config = RemoteConfig {
                address: address.clone(),
                tls: self.tls.client_for(&key, address)?,
                key: self.stack.key.clone(),
                clock: Arc::clone(&self.clock),
                registry: registry.clone(),
            };
            let way = Transport::remote(config)
                .map_err(|e| BootError::config(key, "CONFIG_OUT_OF_RANGE", format!("{address}: {e}")))?;
            mesh = mesh.with(domain, way);
        }
        Ok(mesh)
    }

    /// The same with another clock, for the stacks too.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.stack.clock = Arc::clone(&clock);
        self.clock = clock;
        self
    }

    /// The same with another profile.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = Arc::new(profile);
        self
    }
}

/// Keeps the problems of a section and goes on with its defaults, so that all sections are told of at once.
fn kept<T: Default>(
    found: Result<T, BootError>,
    problems: &mut Vec<crate::ConfigProblem>,
) -> Result<T, BootError> {
    match found {
        Ok(value) => Ok(value),
        Err(BootError::Config(more)) => {
            problems.extend(more);
            Ok(T::default())
        }
        Err(other) => Err(other),
    }
}

/// The name of the machine or container.
fn instance_name() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let known = || std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
    named.or_else(known).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

fn mesh_key(text: &str) -> Result<MeshKey, BootError> {
    let bytes = if text.is_empty() {
        let mut random = vec![0; MeshKey::MIN_BYTES];
        getrandom::fill(&mut random)
            .map_err(|e| BootError::system("no random bytes for the mesh key", std::io::Error::other(e)))?;
        random
    } else {
        hex::decode(text).unwrap_or_default()
    };
    MeshKey::new(&bytes).ok_or_else(|| {
        BootError::config("mesh.key", "CONFIG_OUT_OF_RANGE", "must be 64 or more hexadecimal characters")
    })
}

fn store_of(section: &StoreSection) -> StoreConfig {
    if section.url.is_empty() {
        StoreConfig::Sqlite { dir: section.data.clone() }
    } else {
        StoreConfig::Postgres { url: section.url.clone() }
    }
}
