//! A door with fakes behind it: they keep what reached them and answer what they were told.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use contracts_controls::v1::{FreezeRecord, FreezeScope, WatchEpochResponse, WatchKind};
use contracts_logs::v1::DispatchRecord;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use parking_lot::Mutex;
use prost::Message;
use runspine_boot::{CancellationToken, Deps, Service};
use runspine_errors::Fault;
use runspine_rpc::{Body, Context, Front, Mesh, Routes, Trailed, collect, full_body, status};
use runspine_testkit::eventually;
use runspine_types::{FixedClock, Micros};
use tonic::{Code, Status, server::NamedService};

use crate::{
    door::{CONTRACTS, Catalogue, DispatchSink, Door, DoorConfig},
    kernel::FreezeView,
};

pub const CREATE_LIMIT: &str = "runspine.controls.v1.LimitService/CreateLimit";
pub const GET_LIMIT: &str = "runspine.controls.v1.LimitService/GetLimit";
pub const ADMIT_RUN: &str = "runspine.controls.v1.AdmissionService/AdmitRun";
pub const AUTHORIZE: &str = "runspine.spine.v1.RunService/AuthorizeStep";
pub const GOVERN: &str = "runspine.spine.v1.RunService/GovernRun";
pub const LIFT: &str = "runspine.controls.v1.FreezeService/ApproveUnfreeze";
pub const LIST_OPERATIONS: &str = "runspine.spine.v1.OperationService/ListOperations";

/// What reached a fake.
#[derive(Debug, Clone)]
pub struct Reached {
    pub path: String,
    pub headers: HeaderMap,
    pub context: Context,
    pub data: Bytes,
}

type Answerer = Arc<dyn Fn() -> Result<Bytes, Fault> + Send + Sync>;

/// Behind every fake.
#[derive(Clone)]
pub struct Fakes {
    pub reached: Arc<Mutex<Vec<Reached>>>,
    answer: Arc<Mutex<Answerer>>,
}

impl Default for Fakes {
    fn default() -> Self {
        Self { reached: Arc::default(), answer: Arc::new(Mutex::new(Arc::new(|| Ok(Bytes::new())))) }
    }
}

impl Fakes {
    pub fn answer(&self, with: impl Fn() -> Result<Bytes, Fault> + Send + Sync + 'static) {
        *self.answer.lock() = Arc::new(with);
    }

    async fn serve(self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let context = parts.extensions.get::<Context>().cloned().unwrap();
        let path = parts.uri.path().to_owned();
        if path.ends_with("/GovernRun") {
            self.keep(path, parts.headers, context, Bytes::new());
            // Each frame comes back as it was.
            return head(Body::new(Echo(body)));
        }
        let data = collect(body, usize::MAX).await.unwrap().data;
        self.keep(path, parts.headers, context, data);
        let answer = self.answer.lock().clone();
        match answer() {
            Ok(message) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                head(full_body(frame(&message), Some(trailers)))
            }
            Err(fault) => status(fault).into_http(),
        }
    }

    fn keep(&self, path: String, headers: HeaderMap, context: Context, data: Bytes) {
        self.reached.lock().push(Reached { path, headers, context, data });
    }
}

/// The client's frames as the server's, with a good end.
struct Echo(Body);

impl http_body::Body for Echo {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

fn head(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

macro_rules! fake {
    ($name:ident, $service:literal) => {
        #[derive(Clone)]
        struct $name(Fakes);
        impl NamedService for $name {
            const NAME: &'static str = $service;
        }
        impl tower::Service<Request<Body>> for $name {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;
            fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, request: Request<Body>) -> Self::Future {
                let fakes = self.0.clone();
                Box::pin(async move { Ok(fakes.serve(request).await) })
            }
        }
    };
}

fake!(Limits, "runspine.controls.v1.LimitService");
fake!(Admissions, "runspine.controls.v1.AdmissionService");
fake!(Freezes, "runspine.controls.v1.FreezeService");
fake!(Runs, "runspine.spine.v1.RunService");
fake!(Spans, "runspine.spine.v1.SpanIngestService");

/// Keeps dispatch records, or refuses them.
#[derive(Default)]
pub struct Sink {
    pub records: Mutex<Vec<DispatchRecord>>,
    pub broken: AtomicBool,
    /// How often it refused because of that.
    pub refused: AtomicU32,
    /// Records with this request id are refused for good.
    pub poison: Mutex<Option<String>>,
}

impl DispatchSink for Sink {
    fn append(&self, records: Vec<DispatchRecord>) -> BoxFuture<'_, Result<(), Status>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                self.refused.fetch_add(1, Ordering::SeqCst);
                return Err(Status::unavailable("the sink is broken"));
            }
            // As `logs` refuses them.
            let bad = |r: &DispatchRecord| {
                r.operation.is_empty() || r.operation.len() > 256 || r.run_id.len() > 128
            };
            if records.iter().any(|r| bad(r) || self.poison.lock().as_deref() == Some(r.request_id.as_str()))
            {
                return Err(Status::invalid_argument("a record is bad"));
            }
            self.records.lock().extend(records);
            Ok(())
        })
    }
}

/// The door and all that is behind it.
pub struct World {
    pub door: Door,
    pub fakes: Fakes,
    pub sink: Arc<Sink>,
    pub freezes: Arc<FreezeView>,
    pub clock: Arc<FixedClock>,
    pub deps: Deps,
    /// The development key: an owner.
    pub owner: String,
    pub tenant: String,
    pub dir: tempfile::TempDir,
    pub spine: Option<Service>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(DoorConfig::default()).await
    }

    pub async fn start_with(config: DoorConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(Micros(1_800_000_000_000_000)));
        let deps = Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone());
        let fakes = Fakes::default();
        let routes = Routes::new()
            .add(Limits(fakes.clone()))
            .add(Admissions(fakes.clone()))
            .add(Freezes(fakes.clone()));
        let controls = Service::new("controls", contracts_controls::DESCRIPTORS, &routes, &deps).unwrap();
        let mesh = Mesh::new().local(&controls.stack);
        let catalogue = Catalogue::default();
        let own = Routes::new().add(catalogue.server()).add(Runs(fakes.clone())).add(Spans(fakes.clone()));
        let spine = Service::with_descriptors("spine", &CONTRACTS, &own, &deps).unwrap();
        let (sink, freezes) = (Arc::new(Sink::default()), Arc::new(FreezeView::default()));
        let (door, made) = Door::open(
            (&config, 16 * 1024 * 1024),
            &deps,
            &spine.stack,
            &mesh,
            catalogue,
            freezes.clone(),
            sink.clone(),
        )
        .await
        .unwrap();
        let made = made.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(door.clone().run(stop.clone()));
        let (owner, tenant) = (made.key, made.tenant);
        Self {
            door,
            fakes,
            sink,
            freezes,
            clock,
            deps,
            owner,
            tenant,
            dir,
            spine: Some(spine),
            stop,
            running,
        }
    }

    /// Calls with a whole message; gives the answer's bytes or the status.
    pub async fn call(&self, key: &str, name: &str, message: &[u8]) -> Result<Bytes, Status> {
        let mut headers = HeaderMap::new();
        if !key.is_empty() {
            headers.insert("authorization", http::HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
        }
        self.call_with(headers, name, full_body(frame(message), None))
            .await
            .map(|whole| whole.message().unwrap_or_default())
    }

    pub async fn call_with(&self, mut headers: HeaderMap, name: &str, body: Body) -> Result<Trailed, Status> {
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        headers.insert("te", http::HeaderValue::from_static("trailers"));
        let mut request = Request::post(format!("http://door/{name}")).body(body).unwrap();
        *request.headers_mut() = headers;
        let response = self.door.call(request).await;
        if let Some(status) = Status::from_header_map(response.headers()).filter(|s| s.code() != Code::Ok) {
            return Err(status);
        }
        let whole = collect(response.into_body(), usize::MAX).await.unwrap();
        let end = whole.trailers.as_ref().and_then(Status::from_header_map);
        end.filter(|s| s.code() != Code::Ok).map_or(Ok(whole), Err)
    }

    /// Adds a key to the file and gives its text. The door notices within a second.
    pub async fn add_key(&self, kind: &str, roles: &[&str], more: &str) -> String {
        let (text, row) = new_key(&self.tenant, kind, roles, more);
        let path = self.dir.path().join("api-keys.toml");
        let file = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{file}\n{row}")).unwrap();
        self.until(|| async {
            self.door.inner.directory.resolve(&bearer(&text)).is_ok() || more.contains("expires_at")
        })
        .await;
        text
    }

    /// The watch says that this, and nothing else, is frozen.
    pub fn freeze(&self, scope: FreezeScope, scope_id: &str, tenant: &str) {
        let freeze = FreezeRecord {
            freeze_id: "f".to_owned(),
            tenant_id: tenant.to_owned(),
            scope: scope.into(),
            scope_id: scope_id.to_owned(),
            ..FreezeRecord::default()
        };
        let kind = WatchKind::Change.into();
        let said = WatchEpochResponse { kind, epoch: 1, freezes: vec![freeze], ..Default::default() };
        self.freezes.learn(said, self.deps.clock.now());
    }

    /// Waits for a condition, at most five seconds.
    pub async fn until<F: Future<Output = bool>>(&self, holds: impl FnMut() -> F) {
        eventually(std::time::Duration::from_secs(5), holds).await;
    }

    pub fn records(&self) -> Vec<DispatchRecord> {
        self.sink.records.lock().clone()
    }

    pub fn reached(&self) -> Vec<Reached> {
        self.fakes.reached.lock().clone()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn new_key(tenant: &str, kind: &str, roles: &[&str], more: &str) -> (String, String) {
    let mut random = [0; crate::door::key::RANDOM];
    getrandom::fill(&mut random).unwrap();
    let (text, handle, hash) = crate::door::key::make(&random);
    let row = format!(
        "[[key]]\nid = {handle:?}\nhash = {:?}\ntenant = {tenant:?}\nactor_kind = {kind:?}\nactor = \"a\"\nroles = {roles:?}\n{more}\n",
        hash.to_hex()
    );
    (text, row)
}

pub fn bearer(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", http::HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    headers
}

pub fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap());
    out.put_slice(message);
    out.freeze()
}

/// A `CreateLimit` with a request id and a field that nobody knows.
pub fn create_limit(request_id: &str) -> Vec<u8> {
    let request =
        contracts_controls::v1::CreateLimitRequest { request_id: request_id.into(), ..Default::default() };
    let mut bytes = request.encode_to_vec();
    // Field 9999, bytes.
    bytes.extend([0xfa, 0xf0, 0x04, 3, b'x', b'y', b'z']);
    bytes
}
