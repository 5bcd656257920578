//! A small service that does what a request asks for, and the ways to it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use contracts_common::common::v1::CallContext;
use futures::{Stream, StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use runspine_boot::{Deps, Running, Service as MeshService};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Body, Context, RemoteConfig, Routes, Transport, context, status};
use tonic::{Status, client::Grpc, server::NamedService};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DemoRequest {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub act: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DemoResponse {
    #[prost(string, tag = "1")]
    pub text: String,
}

/// The server, as generated code would be.
#[derive(Clone, Default)]
pub struct Demo {
    pub calls: Arc<AtomicU32>,
}

impl NamedService for Demo {
    const NAME: &'static str = "runspine.demo.v1.DemoService";
}

impl Demo {
    async fn answer(
        self,
        request: tonic::Request<DemoRequest>,
    ) -> Result<tonic::Response<DemoResponse>, Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let context = context(&request)?;
        let asked = request.into_inner();
        let text = match asked.act.as_str() {
            "tenant" => context.tenant_id.clone(),
            "panic" => panic!("as asked"),
            "sleep" => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                String::new()
            }
            "nap" => {
                tokio::time::sleep(Duration::from_millis(150)).await;
                asked.key
            }
            "fail" => return Err(status(Fault::new(&mesh::INTERNAL, "the secret of the cellar"))),
            "invalid" => {
                let fault = Fault::new(&mesh::FIELD_INVALID, "wrong")
                    .field("key", "X", "one")
                    .field("act", "Y", "two");
                return Err(status(fault));
            }
            "flaky" if call < 3 => return Err(status(Fault::new(&mesh::STORE_UNAVAILABLE, "not now"))),
            "down" => return Err(status(Fault::new(&mesh::STORE_UNAVAILABLE, "not now"))),
            _ => asked.key,
        };
        Ok(tonic::Response::new(DemoResponse { text }))
    }
}

type Items = Pin<Box<dyn Stream<Item = Result<DemoResponse, Status>> + Send>>;

impl tonic::server::UnaryService<DemoRequest> for Demo {
    type Response = DemoResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<DemoResponse>, Status>>;
    fn call(&mut self, request: tonic::Request<DemoRequest>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl tonic::server::ServerStreamingService<DemoRequest> for Demo {
    type Response = DemoResponse;
    type ResponseStream = Items;
    type Future = BoxFuture<'static, Result<tonic::Response<Items>, Status>>;
    fn call(&mut self, request: tonic::Request<DemoRequest>) -> Self::Future {
        let act = request.into_inner().act;
        let first = stream::iter([Ok(DemoResponse { text: "first".into() })]);
        let rest = stream::once(async move {
            assert!(act != "panic", "as asked");
            if act == "sleep" {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            Ok(DemoResponse { text: "second".into() })
        });
        Box::pin(async move { Ok(tonic::Response::new(Box::pin(first.chain(rest)) as Items)) })
    }
}

impl tower::Service<Request<Body>> for Demo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<DemoResponse, DemoRequest>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(match request.uri().path().rsplit('/').next() {
                Some("Watch") => grpc.server_streaming(this, request).await,
                _ => grpc.unary(this, request).await,
            })
        })
    }
}

/// The demo served in this process, in both ways at once.
pub struct World {
    pub demo: Demo,
    pub deps: Deps,
    pub stack: runspine_rpc::Stack,
    pub local: Transport,
    pub remote: Transport,
    pub address: String,
    running: Running,
    _dir: tempfile::TempDir,
}

pub const ECHO: &str = "runspine.demo.v1.DemoService/Echo";
pub const PUT: &str = "runspine.demo.v1.DemoService/Put";
pub const WATCH: &str = "runspine.demo.v1.DemoService/Watch";

impl World {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_with(Deps::for_tests(dir.path()).unwrap(), dir).await
    }

    pub async fn start_with(deps: Deps, dir: tempfile::TempDir) -> Self {
        let demo = Demo::default();
        let routes = Routes::new().add(demo.clone());
        let service = MeshService::new("demo", super::protos::demo(), &routes, &deps).unwrap();
        let stack = service.stack.clone();
        let running = runspine_boot::start(vec![service], &deps).await.unwrap();
        let address = format!("http://{}", running.address());
        let local = Transport::local(&stack);
        let remote = way(&address, &deps, &stack);
        Self { demo, deps, stack, local, remote, address, running, _dir: dir }
    }

    pub fn ways(&self) -> [(&'static str, Transport); 2] {
        [("local", self.local.clone()), ("remote", self.remote.clone())]
    }

    /// The context of a worker that may call everything here.
    pub fn context(&self) -> Context {
        self.context_for(&[ECHO, PUT, WATCH])
    }

    pub fn context_for(&self, calls: &[&str]) -> Context {
        let worker = self.stack.registry().worker("test", calls).unwrap();
        Context::serving(&worker, CallContext { tenant_id: "t-1".into(), ..Default::default() }, None)
    }

    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.running.metrics_address()
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}

pub fn way(address: &str, deps: &Deps, stack: &runspine_rpc::Stack) -> Transport {
    let config = RemoteConfig {
        address: address.to_owned(),
        tls: None,
        key: deps.stack.key.clone(),
        clock: Arc::clone(&deps.clock),
        registry: stack.registry().clone(),
    };
    Transport::remote(config).unwrap()
}

/// One unary call, as a generated client makes it.
pub async fn call(way: &Transport, context: &Context, name: &str, act: &str) -> Result<String, Status> {
    send(way, context.request(ask(act)), name).await
}

pub fn ask(act: &str) -> DemoRequest {
    DemoRequest { key: "k".into(), act: act.into() }
}

pub async fn send(
    way: &Transport,
    request: tonic::Request<DemoRequest>,
    name: &str,
) -> Result<String, Status> {
    let mut grpc = Grpc::new(way.clone());
    grpc.ready().await.map_err(|_| Status::unknown("not ready"))?;
    let path = http::uri::PathAndQuery::try_from(format!("/{name}")).unwrap();
    let codec = ProstCodec::<DemoRequest, DemoResponse>::default();
    grpc.unary(request, path, codec).await.map(|r| r.into_inner().text)
}

/// A streamed call: what came, and how it ended.
pub async fn watch(way: &Transport, context: &Context, act: &str) -> (Vec<String>, Result<(), Status>) {
    let mut grpc = Grpc::new(way.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::try_from(format!("/{WATCH}")).unwrap();
    let codec = ProstCodec::<DemoRequest, DemoResponse>::default();
    let mut items = match grpc.server_streaming(context.request(ask(act)), path, codec).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut texts = Vec::new();
    while let Some(item) = items.next().await {
        match item {
            Ok(item) => texts.push(item.text),
            Err(status) => return (texts, Err(status)),
        }
    }
    (texts, Ok(()))
}
