//! A mesh to talk to: one that runs elsewhere, or one that this process starts in a data folder.

use std::path::PathBuf;

use clap::Args;
use runspine_boot::{Args as ServerArgs, Deps, Running, TlsConfig, default_data};
use runspine_spine::door::issue::{self, NewKey};
use runspine_types::new_id;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::{Channel, ClientTlsConfig, Endpoint as Address},
};

use crate::{failure::Failure, mesh};

/// Which mesh.
#[derive(Debug, Clone, Args)]
pub struct Endpoint {
    /// Address of a running mesh, e.g. http://127.0.0.1:7400. Without one a mesh is started in the data folder.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// API key for --endpoint.
    #[arg(long, value_name = "KEY", env = "RUNSPINE_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Authorities that --endpoint is trusted by, PEM. Without it those of the system.
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    pub ca: Option<PathBuf>,
    /// Certificate to present to --endpoint, PEM.
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    pub cert: Option<PathBuf>,
    /// Private key of --cert, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub cert_key: Option<PathBuf>,
    /// The data folder of the embedded mesh.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Governance profile of the embedded mesh: STRICT, STANDARD or OBSERVE_ONLY.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// Puts the API key on every call.
#[derive(Clone)]
pub struct Credential(MetadataValue<Ascii>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// An open mesh.
pub struct Mesh {
    channel: Channel,
    credential: Credential,
    key: String,
    address: String,
    embedded: Option<Running>,
    data: Option<PathBuf>,
}

impl Endpoint {
    /// Reaches the mesh, starting it where none is named.
    pub async fn open(&self) -> Result<Mesh, Failure> {
        let Some(url) = &self.endpoint else { return self.embed().await };
        let key = self.api_key.clone().ok_or_else(|| Failure::usage("--endpoint needs --api-key"))?;
        connect(url, self.tls(url)?, key, None, None)
    }

    fn tls(&self, url: &str) -> Result<Option<ClientTlsConfig>, Failure> {
        let files = TlsConfig {
            cert_file: self.cert.clone().unwrap_or_default(),
            key_file: self.cert_key.clone().unwrap_or_default(),
            ca_file: self.ca.clone().unwrap_or_default(),
            ..TlsConfig::default()
        };
        Ok(files.load()?.client_for("--endpoint", url)?)
    }

    async fn embed(&self) -> Result<Mesh, Failure> {
        let data = self.data.clone().unwrap_or_else(default_data);
        let tenant = issue::list(&data).await?.into_iter().next().map_or_else(new_id, |k| k.tenant);
        let new = NewKey {
            tenant,
            actor_kind: "HUMAN".to_owned(),
            actor: "replay".to_owned(),
            roles: vec!["OWNER".to_owned()],
            owner: "replay".to_owned(),
            ..NewKey::default()
        };
        let key = issue::issue(&data, new, true).await?;
        let args = ServerArgs {
            listen: Some("127.0.0.1:0".to_owned()),
            data: Some(data.display().to_string()),
            profile: self.profile.clone(),
            // A replay is one person's work on one machine: it is not held to a client's rate.
            set: vec![
                "telemetry.log=warn".to_owned(),
                "spine.door.rate_per_minute=1000000".to_owned(),
                "spine.door.start_rate=1000000".to_owned(),
                "controls.guardrails.key_minute_requests=1000000".to_owned(),
                // Nobody but this process calls it, over loopback.
                "tls.cert_file=".to_owned(),
                "tls.key_file=".to_owned(),
                "tls.client_ca_file=".to_owned(),
            ],
            ..ServerArgs::default()
        };
        let deps = Deps::load(&args)?;
        let composed = mesh::compose(&deps).await?;
        let running = runspine_boot::start(composed.services, &deps).await?;
        let url = format!("http://{}", running.address());
        connect(&url, None, key, Some(running), Some(data))
    }
}

fn connect(
    url: &str,
    tls: Option<ClientTlsConfig>,
    key: String,
    embedded: Option<Running>,
    data: Option<PathBuf>,
) -> Result<Mesh, Failure> {
    let address = Address::from_shared(url.to_owned())
        .map_err(|e| Failure::usage(format!("{url}: {e}")))?
        .tcp_nodelay(true);
    let address = match tls {
        Some(tls) => address.tls_config(tls).map_err(|e| Failure::usage(format!("{url}: {e}")))?,
        None => address,
    };
    let bearer = format!("Bearer {key}");
    let value = bearer.parse().map_err(|_| Failure::usage("the API key holds characters that no key has"))?;
    Ok(Mesh {
        channel: address.connect_lazy(),
        credential: Credential(value),
        key,
        address: url.to_owned(),
        embedded,
        data,
    })
}

impl Mesh {
    /// The way to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What every call carries.
    pub fn credential(&self) -> Credential {
        self.credential.clone()
    }

    /// The API key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The data folder, when this process serves it.
    pub fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// Drains the embedded mesh.
    pub async fn close(self) {
        drop(self.channel);
        if let Some(running) = self.embedded {
            running.stop().await;
        }
    }
}
