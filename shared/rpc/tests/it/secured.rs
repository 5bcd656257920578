//! Calls between two processes over TLS, as `mesh.targets` and the section `tls` configure them.

use runspine_boot::{Deps, Settings};
use runspine_testkit::Authority;
use tonic::Code;

use super::demo::{ECHO, World, call};

fn deps(folder: &std::path::Path, flags: &[(&str, String)]) -> Deps {
    let common = [
        ("server.listen", "127.0.0.1:0".to_owned()),
        ("store.data", folder.display().to_string()),
        ("mesh.key", "5a".repeat(32)),
    ];
    let all: Vec<_> = common.iter().chain(flags).map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    Deps::from_settings(Settings::collect(None, std::iter::empty(), &all).unwrap()).unwrap()
}

#[tokio::test]
async fn the_spine_calls_a_domain_over_mutual_tls_and_a_wrong_authority_ends_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let (domain, spine) = (ours.issue("domain"), ours.issue("spine"));
    let file = |path: &std::path::Path| path.display().to_string();
    let served = deps(
        dir.path(),
        &[
            ("tls.cert_file", file(&domain.certificate)),
            ("tls.key_file", file(&domain.key)),
            ("tls.client_ca_file", file(&ours.certificate)),
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let world = World::start_with(served, folder).await;
    let address = world.address.replace("http://127.0.0.1", "https://localhost");
    for (ca, shown, good) in [(&ours, true, true), (&theirs, true, false), (&ours, false, false)] {
        let mut flags = vec![("mesh.targets.demo", address.clone()), ("tls.ca_file", file(&ca.certificate))];
        if shown {
            flags.push(("tls.cert_file", file(&spine.certificate)));
            flags.push(("tls.key_file", file(&spine.key)));
        }
        let mesh = deps(dir.path(), &flags).remote_mesh(world.stack.registry()).unwrap();
        let answer = call(mesh.get("demo").unwrap(), &world.context(), ECHO, "tenant").await;
        match answer {
            Ok(tenant) => assert!(good && tenant == "t-1"),
            Err(status) => assert!(!good && status.code() == Code::Unavailable, "{status}"),
        }
    }
    let plain = call(&world.remote, &world.context(), ECHO, "tenant").await.unwrap_err();
    assert_eq!(plain.code(), Code::Unavailable, "plain text is no handshake");
    world.stop().await;
}
