//! The flags that every binary of the mesh has.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// Flags of a server. They win over the environment, which wins over the file, which wins over the defaults.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct Args {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "RUNSPINE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address to listen on, e.g. 127.0.0.1:7400 (`server.listen`).
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Plain HTTP address with /metrics for Prometheus, and /livez and /readyz for probes (`server.metrics_listen`).
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    /// Folder for the embedded stores and the API keys (`store.data`).
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Governance profile: STRICT, STANDARD or OBSERVE_ONLY (`profile.name`).
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Listen on another than a loopback address without TLS (`server.insecure`).
    #[arg(long)]
    pub insecure: bool,
    /// Certificate of the listener and its chain, PEM (`tls.cert_file`).
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key of the certificate, PEM (`tls.key_file`).
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Refuse clients without a certificate of one of these authorities, PEM (`tls.client_ca_file`).
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<String>,
    /// Authorities of the processes that this one calls, PEM (`tls.ca_file`).
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// Any setting, e.g. `--set server.in_flight=512`. Can be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Prints every setting with its source, secrets masked, and ends.
    #[arg(long)]
    pub print_config: bool,
}

impl Args {
    /// The flags as settings: dotted key and text.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let named = [
            ("server.listen", self.listen.clone()),
            ("server.metrics_listen", self.metrics_listen.clone()),
            ("store.data", self.data.clone()),
            ("profile.name", self.profile.clone()),
            ("tls.cert_file", self.tls_cert.clone()),
            ("tls.key_file", self.tls_key.clone()),
            ("tls.client_ca_file", self.tls_client_ca.clone()),
            ("tls.ca_file", self.tls_ca.clone()),
            ("server.insecure", self.insecure.then(|| "true".to_owned())),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let free = self.set.iter().map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.trim().to_owned(), value.trim().to_owned())
        });
        named.chain(free).collect()
    }
}
