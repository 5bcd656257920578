//! The metrics listener: plain HTTP on a port of its own, for scrapers and probes that speak no gRPC.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{BootError, ServerConfig, health::Readiness};

const PATIENCE: Duration = Duration::from_secs(10);

/// What it answers from.
#[derive(Clone)]
pub(crate) struct Scraped {
    pub registry: Registry,
    pub readiness: Arc<Readiness>,
}

/// Binds the configured address; `None` when there is none. It shows numbers without a tenant and nothing else, so it
/// asks for no credential; who may reach it is the network's to say.
pub(crate) async fn bind(config: &ServerConfig) -> Result<Option<(TcpListener, SocketAddr)>, BootError> {
    if config.metrics_listen.is_empty() {
        return Ok(None);
    }
    let failed = |e| BootError::system(format!("can't listen on {}", config.metrics_listen), e);
    let listener = TcpListener::bind(&config.metrics_listen).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, at)))
}

/// Answers until `stop`: through the drain, so that its end is seen too.
pub(crate) async fn serve(listener: TcpListener, scraped: Scraped, stop: CancellationToken) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, scraped.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a scrape was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, scraped: Scraped, stop: CancellationToken) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = scraped.answer(request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let served = http.serve_connection(TokioIo::new(stream), service);
    if let Some(Err(error)) = stop.run_until_cancelled(served).await {
        tracing::debug!(%error, "a scrape broke off");
    }
}

impl Scraped {
    fn answer(&self, path: &str) -> Response<String> {
        match path {
            "/metrics" => self.metrics(),
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.readiness.is_ready() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
        }
    }

    fn metrics(&self) -> Response<String> {
        let mut out = Vec::new();
        let encoder = TextEncoder::new();
        let encoded = encoder.encode(&self.registry.gather(), &mut out);
        match (encoded, String::from_utf8(out)) {
            (Ok(()), Ok(body)) => {
                let mut response = Response::new(body);
                if let Ok(kind) = encoder.format_type().parse() {
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                }
                response
            }
            (encoded, _) => {
                tracing::error!(?encoded, "the metrics can't be shown");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be shown\n")
            }
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = status;
    response
}
