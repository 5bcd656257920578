//! The listener: HTTP/2 over TCP, one task a connection, drained on stop.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use runspine_rpc::{Body, Front};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{BootError, ServerConfig};

const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 2_048;
const MAX_HEADERS_BYTES: u32 = 32 * 1024;

/// Binds the configured address. Another than a loopback address needs `--insecure`: this listener speaks no TLS, so
/// it belongs behind something that does.
pub(crate) async fn bind(config: &ServerConfig) -> Result<TcpListener, BootError> {
    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|e| BootError::system(format!("can't listen on {}", config.listen), e))?;
    let at = local(&listener)?;
    if !at.ip().is_loopback() && !config.insecure {
        let text = format!("{at} is not a loopback address: terminate TLS before it and say --insecure");
        return Err(BootError::config("server.listen", "LISTEN_INSECURE", text));
    }
    Ok(listener)
}

pub(crate) fn local(listener: &TcpListener) -> Result<SocketAddr, BootError> {
    listener.local_addr().map_err(|e| BootError::system("the listener has no address", e))
}

/// Accepts until `stop`, then lets open calls finish for at most `drain`.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Arc<dyn Front>,
    stop: CancellationToken,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => connection(stream, &front, &graceful),
            Err(error) => {
                // Mostly too many open files: what is open must end before more can come.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(after_ms = drain.as_millis(), "calls were still open at the end of the drain");
    }
}

fn connection(stream: TcpStream, front: &Arc<dyn Front>, graceful: &GracefulShutdown) {
    // Without it small answers wait for the other side's delayed acknowledgement, 40 ms each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let front = Arc::clone(front);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let answer = front.call(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_PATIENCE)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
}
