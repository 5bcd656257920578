//! Start, readiness, drain, end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use runspine_boot::{BootError, Deps, Service};
use runspine_errors::{Fault, mesh};
use runspine_rpc::Routes;
use runspine_testkit::eventually;
use tonic_health::{ServingStatus, pb::HealthCheckRequest, pb::health_client::HealthClient};

fn deps() -> (Deps, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Deps::for_tests(dir.path()).unwrap(), dir)
}

fn service(name: &str, deps: &Deps) -> Service {
    Service::new(name, contracts_common::DESCRIPTORS, &Routes::new(), deps).unwrap()
}

async fn status(address: std::net::SocketAddr, name: &str) -> Option<i32> {
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.ok()?);
    let request = HealthCheckRequest { service: name.to_owned() };
    client.check(request).await.ok().map(|r| r.into_inner().status)
}

#[tokio::test]
async fn readiness_follows_the_probes() {
    let (deps, _dir) = deps();
    let good = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&good);
    let weak = service("weak", &deps).probe("store", move || {
        let asked = Arc::clone(&asked);
        async move {
            if asked.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err(Fault::new(&mesh::STORE_UNAVAILABLE, "not yet"))
            }
        }
    });
    let running = runspine_boot::start(vec![service("strong", &deps), weak], &deps).await.unwrap();
    let at = running.address();
    let (serving, not) = (Some(ServingStatus::Serving as i32), Some(ServingStatus::NotServing as i32));
    assert_eq!(status(at, "strong").await, serving);
    assert_eq!(status(at, "weak").await, not);
    assert_eq!(status(at, "").await, not, "one that is not ready makes the process not ready");
    good.store(true, Ordering::SeqCst);
    eventually(Duration::from_secs(5), || async { status(at, "").await == serving }).await;
    assert_eq!(status(at, "weak").await, serving);
    running.stop().await;
    assert_eq!(status(at, "").await, None, "nobody listens any more");
}

#[tokio::test]
async fn workers_end_before_stores_close_and_callers_before_what_they_call() {
    let (deps, _dir) = deps();
    let told: Arc<Mutex<Vec<&str>>> = Arc::default();
    let tell = |what: &'static str| {
        let told = Arc::clone(&told);
        move || told.lock().unwrap().push(what)
    };
    let (first, second, worker) = (tell("callee closed"), tell("caller closed"), tell("worker ended"));
    let callee = service("callee", &deps).on_stop("store", move || async move {
        first();
        Ok(())
    });
    let caller = service("caller", &deps)
        .worker("loop", move |stop| async move {
            stop.cancelled().await;
            worker();
        })
        .on_stop("store", move || async move {
            second();
            Ok(())
        });
    runspine_boot::start(vec![callee, caller], &deps).await.unwrap().stop().await;
    assert_eq!(*told.lock().unwrap(), ["worker ended", "caller closed", "callee closed"]);
}

#[tokio::test]
async fn a_worker_that_ends_or_panics_by_itself_ends_the_process_in_order() {
    for panics in [false, true] {
        let (deps, _dir) = deps();
        let closed = Arc::new(AtomicBool::new(false));
        let closing = Arc::clone(&closed);
        let service = service("s", &deps)
            .worker("short", move |_| async move { assert!(!panics, "as planned") })
            .on_stop("store", move || async move {
                closing.store(true, Ordering::SeqCst);
                Ok(())
            });
        let running = runspine_boot::start(vec![service], &deps).await.unwrap();
        let ended = running.until(std::future::pending()).await;
        assert!(matches!(ended, Err(BootError::WorkerEnded(name)) if name == "s/short"));
        assert!(closed.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn a_service_without_workers_serves_until_it_is_stopped() {
    let (deps, _dir) = deps();
    let running = runspine_boot::start(vec![service("s", &deps)], &deps).await.unwrap();
    let at = running.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(running.until(async move { stopped.await.unwrap() }));
    assert_eq!(status(at, "s").await, Some(ServingStatus::Serving as i32));
    assert!(!served.is_finished());
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    assert_eq!(status(at, "s").await, None);
}

#[tokio::test]
async fn the_open_world_needs_a_word() {
    let (mut deps, _dir) = deps();
    deps.server.listen = "0.0.0.0:0".to_owned();
    let refused = runspine_boot::start(vec![service("s", &deps)], &deps).await.err().unwrap();
    assert!(refused.to_string().contains("LISTEN_INSECURE"), "{refused}");
    deps.server.insecure = true;
    runspine_boot::start(vec![service("s", &deps)], &deps).await.unwrap().stop().await;
}
