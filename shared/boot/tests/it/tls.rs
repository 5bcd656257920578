//! The listener with certificates: who gets in, and what is refused before it starts.

use std::{net::SocketAddr, path::Path};

use runspine_boot::{BootError, Deps, Running, Service, Settings, TlsConfig};
use runspine_rpc::Routes;
use runspine_testkit::{Authority, CertificateFiles};
use tonic::transport::ClientTlsConfig;
use tonic_health::{ServingStatus, pb::HealthCheckRequest, pb::health_client::HealthClient};

/// A listener with a certificate of `authority`; it asks for those of `clients` when there are any.
async fn serve(folder: &Path, authority: &Authority, clients: Option<&Authority>) -> Running {
    let own = authority.issue("server");
    let mut flags = vec![
        ("server.listen".to_owned(), "0.0.0.0:0".to_owned()),
        ("store.data".to_owned(), folder.display().to_string()),
        ("tls.cert_file".to_owned(), own.certificate.display().to_string()),
        ("tls.key_file".to_owned(), own.key.display().to_string()),
    ];
    if let Some(clients) = clients {
        flags.push(("tls.client_ca_file".to_owned(), clients.certificate.display().to_string()));
    }
    let deps = Deps::from_settings(Settings::collect(None, std::iter::empty(), &flags).unwrap()).unwrap();
    let service = Service::new("s", contracts_common::DESCRIPTORS, &Routes::new(), &deps).unwrap();
    // All addresses without --insecure: a certificate is enough.
    runspine_boot::start(vec![service], &deps).await.unwrap()
}

async fn is_served(at: SocketAddr, tls: Option<ClientTlsConfig>) -> bool {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://localhost:{}", at.port());
    let endpoint = tonic::transport::Channel::from_shared(url).unwrap();
    let endpoint = match tls {
        Some(tls) => endpoint.tls_config(tls).unwrap(),
        None => endpoint,
    };
    let Ok(channel) = endpoint.connect().await else { return false };
    let asked = HealthClient::new(channel).check(HealthCheckRequest { service: "s".to_owned() }).await;
    asked.is_ok_and(|answer| answer.into_inner().status == ServingStatus::Serving as i32)
}

fn trusting(authority: &Authority, own: Option<&CertificateFiles>) -> Option<ClientTlsConfig> {
    let files = TlsConfig {
        ca_file: authority.certificate.clone(),
        cert_file: own.map(|own| own.certificate.clone()).unwrap_or_default(),
        key_file: own.map(|own| own.key.clone()).unwrap_or_default(),
        ..TlsConfig::default()
    };
    Some(files.load().unwrap().client())
}

#[tokio::test]
async fn who_trusts_the_authority_is_served_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let running = serve(dir.path(), &authority, None).await;
    let at = running.address();
    assert!(is_served(at, trusting(&authority, None)).await);
    assert!(!is_served(at, trusting(&other, None)).await, "another authority's word for it is none");
    assert!(!is_served(at, None).await, "plain text is no handshake");
    assert!(is_served(at, trusting(&authority, None)).await, "what was refused broke nothing");
    running.stop().await;
}

#[tokio::test]
async fn with_client_authorities_a_client_shows_a_certificate_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new(dir.path(), "servers"), Authority::new(dir.path(), "clients"));
    let running = serve(dir.path(), &authority, Some(&clients)).await;
    let (known, stranger) = (clients.issue("known"), authority.issue("stranger"));
    let at = running.address();
    assert!(is_served(at, trusting(&authority, Some(&known))).await);
    assert!(!is_served(at, trusting(&authority, Some(&stranger))).await);
    assert!(!is_served(at, trusting(&authority, None)).await);
    running.stop().await;
}

#[tokio::test]
async fn a_handshake_that_nobody_finishes_does_not_hold_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let running = serve(dir.path(), &Authority::new(dir.path(), "ours"), None).await;
    let silent = tokio::net::TcpStream::connect(("127.0.0.1", running.address().port())).await.unwrap();
    let begun = std::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "the drain waits 10 s for open calls");
    drop(silent);
}

#[test]
fn files_that_do_not_fit_are_all_told_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let own = Authority::new(dir.path(), "ours").issue("server");
    let other = Authority::new(dir.path(), "theirs").issue("other");
    let keys = |config: TlsConfig| match config.load() {
        Err(BootError::Config(problems)) => problems.into_iter().map(|p| (p.key, p.code)).collect::<Vec<_>>(),
        Err(error) => panic!("{error}"),
        Ok(_) => Vec::new(),
    };
    let whole =
        TlsConfig { cert_file: own.certificate.clone(), key_file: own.key.clone(), ..TlsConfig::default() };
    assert!(keys(whole.clone()).is_empty());
    let lone = TlsConfig {
        cert_file: own.certificate.clone(),
        ca_file: "/nowhere/ca.pem".into(),
        ..TlsConfig::default()
    };
    let told = [("tls.ca_file", "CONFIG_UNREADABLE"), ("tls.key_file", "TLS_INCOMPLETE")];
    assert_eq!(keys(lone), told.map(|(key, code)| (key.to_owned(), code)));
    let guard = TlsConfig { client_ca_file: own.certificate.clone(), ..TlsConfig::default() };
    assert_eq!(keys(guard), [("tls.cert_file".to_owned(), "TLS_INCOMPLETE")]);
    let crossed = TlsConfig { key_file: other.key, ..whole.clone() };
    assert_eq!(keys(crossed), [("tls.cert_file".to_owned(), "CONFIG_UNREADABLE")]);
    let empty = TlsConfig { ca_file: own.key, ..whole };
    assert_eq!(keys(empty), [("tls.ca_file".to_owned(), "CONFIG_UNREADABLE")]);
}

#[test]
fn a_secured_mesh_has_no_plain_text_target() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ours");
    let tls = TlsConfig { ca_file: authority.certificate, ..TlsConfig::default() }.load().unwrap();
    let refused = tls.client_for("mesh.targets.logs", "http://logs:7070").err().unwrap();
    assert!(refused.to_string().contains("TLS_INCOMPLETE mesh.targets.logs"), "{refused}");
    assert!(tls.client_for("mesh.targets.logs", "https://logs:7070").unwrap().is_some());
    let open = TlsConfig::default().load().unwrap();
    assert!(open.client_for("mesh.targets.logs", "http://logs:7070").unwrap().is_none());
}
