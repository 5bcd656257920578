//! The bare echo: tonic, the messages of `AuthorizeStep`, and nothing behind them.

use std::{
    convert::Infallible,
    io::Write as _,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use contracts_spine::v1::{AuthorizeStepRequest, AuthorizeStepResponse};
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_stream::{StreamExt as _, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, body::Body, codegen::Service, server::NamedService, transport::Server,
};
use tonic_prost::ProstCodec;

use crate::{
    measure::{Meter, Outcome, Point, together},
    wire::{Client, Wire, answer, ask},
};

/// Answers every call with the same allowed step.
#[derive(Clone)]
struct Echo {
    answer: AuthorizeStepResponse,
}

impl NamedService for Echo {
    const NAME: &'static str = "runspine.spine.v1.RunService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.answer.clone();
        Box::pin(async move {
            let serve = tower::service_fn(move |_: Request<AuthorizeStepRequest>| {
                let answer = answer.clone();
                async move { Ok::<_, Status>(Response::new(answer)) }
            });
            let codec = ProstCodec::<AuthorizeStepResponse, AuthorizeStepRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(serve, request).await)
        })
    }
}

/// Serves until the process is killed; says where on standard output.
pub async fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", listener.local_addr()?)?;
    out.flush()?;
    // `serve_with_incoming` does not set it on the sockets that it is given.
    let incoming =
        TcpListenerStream::new(listener).map(|socket| socket.and_then(|s| s.set_nodelay(true).map(|()| s)));
    Server::builder().add_service(Echo { answer: answer() }).serve_with_incoming(incoming).await?;
    Ok(())
}

/// Measures the echo with as many callers.
pub async fn measure(address: &str, pid: u32, callers: usize, seconds: f64) -> Outcome<Point> {
    let wire = Wire::connect(address, "none", callers).await?;
    for caller in 0..callers.min(4) {
        call(wire.client(caller), Instant::now() + Duration::from_millis(50)).await?;
    }
    let calls = |until| (0..callers).map(|caller| call(wire.client(caller), until)).collect();
    together("unary echo", pid, seconds, calls).await
}

async fn call(mut client: Client, until: Instant) -> Outcome<Meter> {
    let run_id = runspine_types::new_id();
    let mut meter = Meter::new()?;
    let mut index = 0;
    while Instant::now() < until {
        let ask = ask(&run_id, 1, index);
        let begun = Instant::now();
        client.authorize_step(ask).await?;
        meter.record(begun.elapsed());
        index += 1;
    }
    Ok(meter)
}
