//! The listener: HTTP/2 over TLS or plain TCP, one task a connection, drained on stop.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use runspine_rpc::{Body, Front};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{BootError, ServerConfig};

const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take to agree on keys.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 2_048;
const MAX_HEADERS_BYTES: u32 = 32 * 1024;

/// Binds the configured address. Another than a loopback address needs TLS or `--insecure`.
pub(crate) async fn bind(config: &ServerConfig, secured: bool) -> Result<TcpListener, BootError> {
    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|e| BootError::system(format!("can't listen on {}", config.listen), e))?;
    let at = local(&listener)?;
    if !at.ip().is_loopback() && !secured && !config.insecure {
        let text = format!(
            "{at} is not a loopback address: name --tls-cert and --tls-key, or terminate TLS before it and say --insecure"
        );
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
    tls: Option<TlsAcceptor>,
    front: Arc<dyn Front>,
    stop: CancellationToken,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let link = Link { front: Arc::clone(&front), watcher: graceful.watcher() };
                tokio::spawn(connection(stream, tls.clone(), link, stop.clone()));
            }
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

/// What a connection is served by, and who waits for its end.
struct Link {
    front: Arc<dyn Front>,
    watcher: Watcher,
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, link: Link, stop: CancellationToken) {
    // Without it small answers wait for the other side's delayed acknowledgement, 40 ms each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let Some(tls) = tls else { return serve_http2(stream, link).await };
    // A handshake that hangs must hold neither a task for ever nor the drain.
    let handshake = tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream));
    match stop.run_until_cancelled(handshake).await {
        Some(Ok(Ok(stream))) => serve_http2(stream, link).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "a TLS handshake failed"),
        Some(Err(_)) => tracing::debug!("a TLS handshake took too long"),
        None => {}
    }
}

async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, link: Link) {
    let Link { front, watcher } = link;
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
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}
