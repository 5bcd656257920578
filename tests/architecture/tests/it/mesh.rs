//! The RPC inventory, alive: every operation of the descriptor set is asked through both doors of its service, and
//! through the mesh's own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use architecture_tests::{Inspection, answers};
use contracts_common::{
    common::v1::{Actor, ActorType, CallContext},
    contract::v1::Exposure,
};
use runspine_boot::{Deps, Running, Service};
use runspine_rpc::{Context, Mesh, Operation, Registry, RemoteConfig, Routes, Stack, Transport};
use runspine_types::{PLATFORM_TENANT, new_id};
use tokio::time::timeout;
use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::tree::{clean, finds};

/// How long an open stream is waited for: one that says nothing has answered by being open.
const SILENCE: Duration = Duration::from_millis(300);

/// The whole mesh in this process, each service behind a listener of its own too.
struct World {
    registry: Registry,
    local: BTreeMap<String, Transport>,
    remote: BTreeMap<String, Transport>,
    door: Channel,
    key: String,
    running: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap();
        let services = domains(&deps).await;
        let mesh = services.iter().fold(Mesh::new(), |mesh, service| mesh.local(&service.stack));
        let config = deps.settings.section("spine").unwrap();
        let spine = runspine_spine::service(config, &deps, &mesh).await.unwrap();
        let registry = spine.service.stack.registry().clone();
        let key = spine.development_key.unwrap().key;
        let (mut local, mut remote, mut running) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        local.insert("spine".to_owned(), Transport::local(&spine.service.stack));
        for service in services {
            let (name, stack) = (service.name.clone(), service.stack.clone());
            let started = runspine_boot::start(vec![service], &deps).await.unwrap();
            let config = RemoteConfig {
                address: format!("http://{}", started.address()),
                tls: None,
                key: deps.stack.key.clone(),
                clock: Arc::clone(&deps.clock),
                registry: registry.clone(),
            };
            remote.insert(name.clone(), Transport::remote(config).unwrap());
            local.insert(name, Transport::local(&stack));
            running.push(started);
        }
        let started = runspine_boot::start(vec![spine.service], &deps).await.unwrap();
        let door = Channel::from_shared(format!("http://{}", started.address())).unwrap();
        let door = door.connect().await.unwrap();
        running.insert(0, started);
        Self { registry, local, remote, door, key, running, _folder: folder }
    }

    async fn stop(self) {
        for running in self.running {
            running.stop().await;
        }
    }
}

async fn domains(deps: &Deps) -> Vec<Service> {
    let s = &deps.settings;
    vec![
        runspine_activity::service(s.section("activity").unwrap(), deps).await.unwrap(),
        runspine_incidents::service(s.section("incidents").unwrap(), deps).await.unwrap(),
        runspine_policies::service(s.section("policies").unwrap(), deps).await.unwrap(),
        runspine_logs::service(s.section("logs").unwrap(), deps).await.unwrap(),
        runspine_controls::service(s.section("controls").unwrap(), deps).await.unwrap(),
    ]
}

/// A context of the spine's in which exactly this operation may be called.
fn context(operation: &Arc<Operation>) -> Context {
    let call = CallContext {
        tenant_id: PLATFORM_TENANT.to_owned(),
        actor: Some(Actor { r#type: ActorType::System.into(), id: "spine".to_owned() }),
        correlation_id: new_id(),
        ..CallContext::default()
    };
    Context::serving(operation, call, None)
}

/// Asks with an empty message and reads the first word of the answer. An empty message has the same bytes for every
/// type, and one message is on the wire the same for a unary call and a stream.
async fn ask<T>(through: T, path: &str, request: Request<()>) -> Code
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let mut grpc = Grpc::new(through);
    if grpc.ready().await.is_err() {
        return Code::Unavailable;
    }
    let path = path.parse().unwrap();
    let request = request.map(|()| tokio_stream::once(()));
    let answer = grpc.streaming(request, path, ProstCodec::<(), ()>::default()).await;
    let mut stream = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) => return status.code(),
    };
    match timeout(SILENCE, stream.message()).await {
        Ok(Err(status)) => status.code(),
        Ok(Ok(_)) | Err(_) => Code::Ok,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_through_every_door() {
    let world = World::start().await;
    let (mut inside, mut outside, mut door) =
        (Inspection::default(), Inspection::default(), Inspection::default());
    for operation in world.registry.operations() {
        let local = world.local[&operation.domain].clone();
        answers::inside(
            &mut inside,
            operation,
            ask(local, &operation.path, context(operation).request(())).await,
        );
        if let Some(remote) = world.remote.get(&operation.domain) {
            let request = context(operation).request(());
            answers::inside(&mut outside, operation, ask(remote.clone(), &operation.path, request).await);
        }
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", format!("Bearer {}", world.key).parse().unwrap());
        answers::at_the_door(&mut door, operation, ask(world.door.clone(), &operation.path, request).await);
    }
    clean("operations asked in process", &inside, 140);
    clean("operations asked over the network as the spine asks", &outside, 130);
    clean("operations asked at the door as a client asks", &door, 140);
    world.stop().await;
}

/// A service that declares what nobody serves, and answers that must not pass.
#[tokio::test]
async fn what_does_not_answer_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let deps = Deps::for_tests(folder.path()).unwrap();
    let nothing = Stack::compose("logs", &[contracts_logs::DESCRIPTORS], &Routes::new(), deps.stack).unwrap();
    let operations: Vec<_> = nothing.registry().operations().cloned().collect();
    let mut seen = Inspection::default();
    for operation in &operations {
        let way = Transport::local(&nothing);
        answers::inside(
            &mut seen,
            operation,
            ask(way, &operation.path, context(operation).request(())).await,
        );
    }
    assert_eq!(seen.violations.len(), operations.len(), "{seen:?}");
    finds(&seen, &["LedgerService/AppendEntries", "Unimplemented"]);

    let mut mesh_only = operations.iter().filter(|op| op.exposure == Exposure::Mesh);
    let mut entry = operations.iter().filter(|op| op.exposure == Exposure::Entry);
    let (mesh_only, entry) = (mesh_only.next().unwrap(), entry.next().unwrap());
    let mut seen = Inspection::default();
    answers::at_the_door(&mut seen, mesh_only, Code::Ok);
    answers::at_the_door(&mut seen, mesh_only, Code::InvalidArgument);
    answers::at_the_door(&mut seen, entry, Code::Internal);
    assert_eq!((seen.inspected, seen.violations.len()), (3, 3));
    answers::at_the_door(&mut seen, mesh_only, Code::PermissionDenied);
    answers::at_the_door(&mut seen, entry, Code::InvalidArgument);
    assert_eq!((seen.inspected, seen.violations.len()), (5, 3));
}
