//! One domain in a process of its own, called as the spine calls it: over the network, with a signed context.

use std::{path::Path, sync::Arc};

use contracts_common::common::v1::{Actor, ActorType, CallContext, GovernanceProfile};
use runspine_rpc::{Context, MeshKey, Registry, RemoteConfig, Transport};
use runspine_types::{SystemClock, new_id};
use tonic::Request;

use crate::{
    args::Engine,
    measure::Outcome,
    server::{Server, domain_command},
    storage::Storage,
    wire::CALLERS_A_CONNECTION,
};

/// The key of the measured mesh. It listens on the loopback only, for as long as it is measured.
const KEY: [u8; MeshKey::MIN_BYTES] = [7; MeshKey::MIN_BYTES];

/// A served domain, and the tenant that calls it.
pub struct Domain {
    server: Server,
    /// Ends with it.
    _storage: Storage,
    registry: Registry,
    package: String,
    tenant_id: String,
}

impl Domain {
    /// Starts the binary of `name` that lies beside `binary`, over an empty folder.
    pub async fn start(
        binary: &Path,
        work: &Path,
        name: &str,
        descriptors: &'static [u8],
        set: &[&str],
        engine: Engine,
    ) -> Outcome<Self> {
        let storage = Storage::empty(engine).await;
        let url = storage.setting();
        let set: Vec<&str> = set.iter().copied().chain(url.as_deref()).collect();
        let hex = KEY.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut command = domain_command(binary, work, name, &set)?;
        command.env("RUNSPINE_MESH__KEY", hex);
        Ok(Self {
            server: Server::spawn(command).await?,
            _storage: storage,
            registry: Registry::read(&[descriptors])?,
            package: format!("runspine.{name}.v1"),
            tenant_id: new_id(),
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid
    }

    /// Connections for as many callers, one for some of them.
    pub fn ways(&self, callers: usize) -> Outcome<Vec<Transport>> {
        let connect = || {
            Transport::remote(RemoteConfig {
                address: format!("http://{}", self.server.address),
                tls: None,
                key: MeshKey::new(&KEY).ok_or("the key is too short")?,
                clock: Arc::new(SystemClock),
                registry: self.registry.clone(),
            })
            .map_err(Into::into)
        };
        let connections = callers.div_ceil(CALLERS_A_CONNECTION).max(1);
        let ways = (0..connections).map(|_| connect()).collect::<Outcome<Vec<_>>>()?;
        Ok((0..callers).map(|caller| ways[caller % ways.len()].clone()).collect())
    }

    /// A message to an operation, `Service/Method`, in the context of the spine.
    pub fn ask<M>(&self, operation: &str, message: M) -> Outcome<Request<M>> {
        let name = format!("{}.{operation}", self.package);
        let operation = self.registry.operation(&name).ok_or_else(|| format!("{name} is no operation"))?;
        let call = CallContext {
            tenant_id: self.tenant_id.clone(),
            actor: Some(Actor { r#type: ActorType::Service.into(), id: "load".to_owned() }),
            correlation_id: "load".to_owned(),
            profile: GovernanceProfile::Standard.into(),
            ..CallContext::default()
        };
        Ok(Context::serving(operation, call, None).request(message))
    }

    /// Ends it.
    pub async fn stop(self) -> Outcome<()> {
        self.server.stop().await
    }
}
