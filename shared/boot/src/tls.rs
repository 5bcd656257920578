//! TLS of the listener and of outgoing calls: the section `tls`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::{BootError, ConfigProblem};

/// The section `tls`. Files are PEM and read once, at the start.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// This process's certificate, followed by its chain. Empty (default): the listener speaks plain text.
    pub cert_file: PathBuf,
    /// The certificate's private key.
    pub key_file: PathBuf,
    /// Authorities of clients. Named: who calls must present a certificate of one of them. Empty (default): nobody must.
    pub client_ca_file: PathBuf,
    /// Authorities of the processes that this one calls. Empty (default): those of the system.
    pub ca_file: PathBuf,
}

/// The files of [`TlsConfig`], read and found to fit together.
#[derive(Clone)]
pub struct Tls {
    server: Option<Arc<ServerConfig>>,
    client: ClientTlsConfig,
    private_authority: bool,
}

impl Default for Tls {
    fn default() -> Self {
        let client = ClientTlsConfig::new().with_enabled_roots();
        Self { server: None, client, private_authority: false }
    }
}

impl TlsConfig {
    /// Reads the files.
    ///
    /// # Errors
    /// With everything that is wrong with them.
    pub fn load(&self) -> Result<Tls, BootError> {
        let mut problems = Vec::new();
        let cert = self.file("tls.cert_file", &self.cert_file, &mut problems);
        let key = self.file("tls.key_file", &self.key_file, &mut problems);
        let client_ca = self.file("tls.client_ca_file", &self.client_ca_file, &mut problems);
        let ca = self.file("tls.ca_file", &self.ca_file, &mut problems);
        self.incomplete(&mut problems);
        if !problems.is_empty() {
            return Err(BootError::Config(problems));
        }
        let pair = cert.zip(key);
        let server = pair.as_ref().map(|(cert, key)| server(cert, key, client_ca.as_deref())).transpose()?;
        Ok(Tls { server, private_authority: ca.is_some(), client: client(ca.as_deref(), pair)? })
    }

    fn file(&self, key: &str, path: &Path, problems: &mut Vec<ConfigProblem>) -> Option<Vec<u8>> {
        if path.as_os_str().is_empty() {
            return None;
        }
        match std::fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(e) => {
                let text = format!("can't read {}: {e}", path.display());
                problems.push(ConfigProblem::new(key, "CONFIG_UNREADABLE", text));
                None
            }
        }
    }

    /// Each of these alone would leave the listener less guarded than its owner believes.
    fn incomplete(&self, problems: &mut Vec<ConfigProblem>) {
        let named = |path: &Path| !path.as_os_str().is_empty();
        let (cert, key) = (named(&self.cert_file), named(&self.key_file));
        let mut missing = |key: &str, text: &str| {
            problems.push(ConfigProblem::new(key, "TLS_INCOMPLETE", text));
        };
        if cert && !key {
            missing("tls.key_file", "a certificate needs its private key");
        }
        if key && !cert {
            missing("tls.cert_file", "a private key needs its certificate");
        }
        if named(&self.client_ca_file) && !(cert && key) {
            missing(
                "tls.cert_file",
                "clients can be asked for a certificate only by a listener that has one",
            );
        }
    }
}

impl Tls {
    /// Whether the listener speaks TLS.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.server.is_some()
    }

    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.server.clone().map(TlsAcceptor::from)
    }

    /// How outgoing calls to an `https` address are secured: whom they trust, and the certificate that they present.
    #[must_use]
    pub fn client(&self) -> ClientTlsConfig {
        self.client.clone()
    }

    /// The same for `address`, `None` for plain text.
    ///
    /// # Errors
    /// For an `http` address where `tls.ca_file` says that the mesh is secured: a slip that nobody would notice.
    pub fn client_for(&self, key: &str, address: &str) -> Result<Option<ClientTlsConfig>, BootError> {
        let secured = address.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        if self.private_authority && !secured {
            let text = format!("{address} is plain text although tls.ca_file is set: https:// is needed");
            return Err(BootError::config(key, "TLS_INCOMPLETE", text));
        }
        Ok(secured.then(|| self.client()))
    }
}

fn server(cert: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Arc<ServerConfig>, BootError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("tls.cert_file", cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| unfit("tls.key_file", &e))?;
    let versions =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = versions.map_err(|e| unfit("tls.cert_file", &e))?;
    let builder = match client_ca {
        Some(authorities) => builder.with_client_cert_verifier(verifier(authorities, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| unfit("tls.cert_file", &e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(
    authorities: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, BootError> {
    const KEY: &str = "tls.client_ca_file";
    let mut roots = RootCertStore::empty();
    for authority in certificates(KEY, authorities)? {
        roots.add(authority).map_err(|e| unfit(KEY, &e))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map_err(|e| unfit(KEY, &e))
}

fn client(ca: Option<&[u8]>, pair: Option<(Vec<u8>, Vec<u8>)>) -> Result<ClientTlsConfig, BootError> {
    let trusting = match ca {
        Some(ca) => {
            certificates("tls.ca_file", ca)?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca))
        }
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    Ok(match pair {
        Some((cert, key)) => trusting.identity(Identity::from_pem(cert, key)),
        None => trusting,
    })
}

/// The certificates of a PEM file: one at least.
fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BootError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| unfit(key, &e))?;
    if all.is_empty() {
        return Err(unfit(key, &"the file holds no PEM certificate"));
    }
    Ok(all)
}

fn unfit(key: &str, what: &dyn std::fmt::Display) -> BootError {
    BootError::config(key, "CONFIG_UNREADABLE", what.to_string())
}
