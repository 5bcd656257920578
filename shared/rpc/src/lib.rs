//! How calls travel in the mesh: contracts read from descriptors, one middleware stack behind two doors (in process and
//! over the network), the client side, and failures as gRPC statuses.
//!
//! A domain service needs three words of it: [`Routes`] to serve, [`context`] to know who calls, [`status`] to refuse.

mod bytes_body;
mod context;
mod front;
mod mesh;
mod observe;
pub mod registry;
mod routes;
mod sign;
mod stack;
mod status;
mod time;
pub mod transport;
pub mod wire;

pub use bytes_body::{Trailed, collect, full_body};
pub use context::{Context, context};
pub use front::{Front, OpenFront, Stacks};
pub use mesh::Mesh;
pub use observe::{arrival_span, ended, inner_span};
pub use registry::{EventContract, Operation, Problem, Registry, RegistryError};
pub use routes::Routes;
pub use sign::MeshKey;
pub use stack::{
    Admission, Limits, MAX_MESSAGE_BYTES, Meter, Permit, Snapshot, Stack, StackConfig, code_in_head,
    grpc_timeout,
};
pub use status::{Details, code_of, details, kind_of, refusal, status};
pub use time::{micros, optional_micros, timestamp};
pub use transport::{RemoteConfig, Transport};

/// The body of every request and response inside the mesh.
pub type Body = tonic::body::Body;

/// A call on its way.
pub type Call = futures::future::BoxFuture<'static, http::Response<Body>>;
