//! The only runner: starts services together, and ends them in order.

use std::{future::Future, io::Write as _, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args as _, Command, FromArgMatches};
use futures::FutureExt;
use runspine_rpc::{Front, OpenFront, Stack, Stacks};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Args, BootError, Deps, Service, Settings, Telemetry,
    health::Readiness,
    listen,
    scrape::{self, Scraped},
    service::{StopHook, Worker},
};

/// How long workers may take to end once they were told.
const WORKERS_PATIENCE: Duration = Duration::from_secs(5);

/// The whole of a service's `main`: reads flags and configuration, builds the services, runs them, tells what failed.
/// `read` reads the sections of this binary, so that `--print-config` shows them and nothing is opened for it.
pub fn main<C, R, B, F>(read: R, build: B) -> ExitCode
where
    R: FnOnce(&Settings) -> Result<C, BootError>,
    B: FnOnce(C, Deps) -> F,
    F: Future<Output = Result<Vec<Service>, BootError>>,
{
    // clap shows the name that the binary was called by.
    let command = Args::augment_args(Command::new("runspine").version(env!("CARGO_PKG_VERSION")));
    let args = match Args::from_arg_matches(&command.get_matches()) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match built(&args, read, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have started, so it is told plainly.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn built<C, R, B, F>(args: &Args, read: R, build: B) -> Result<(), BootError>
where
    R: FnOnce(&Settings) -> Result<C, BootError>,
    B: FnOnce(C, Deps) -> F,
    F: Future<Output = Result<Vec<Service>, BootError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| BootError::system("no runtime", e))?;
    // Exporters are made with the settings, and live on the runtime.
    let _entered = runtime.enter();
    let settings = Settings::from_args(args)?;
    let config = read(&settings);
    let deps = Deps::from_settings(settings);
    let (config, deps) = match (config, deps) {
        (Ok(config), Ok(deps)) => (config, deps),
        (Err(BootError::Config(own)), Err(BootError::Config(common))) => {
            return Err(BootError::Config(common.into_iter().chain(own).collect()));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    if args.print_config {
        let shown = std::io::stdout().write_all(deps.settings.print().as_bytes());
        return shown.map_err(|e| BootError::system("the settings could not be shown", e));
    }
    runtime.block_on(async {
        let services = build(config, deps.clone()).await?;
        run(services, &deps).await
    })
}

/// Runs services until SIGTERM or SIGINT, then drains them.
///
/// # Errors
/// When they don't start, or a worker ends by itself.
pub async fn run(services: Vec<Service>, deps: &Deps) -> Result<(), BootError> {
    let stopped = stop_signal()?;
    let running = start(services, deps).await?;
    if let Err(error) = announce(&running, deps) {
        tracing::warn!(%error, address = %running.address(), "standard output is closed");
    }
    running.until(stopped).await
}

/// Says on standard output where it serves: who gave it port 0 learns it there.
fn announce(running: &Running, deps: &Deps) -> std::io::Result<()> {
    let profile = deps.profile.name.as_str_name().trim_start_matches("GOVERNANCE_PROFILE_");
    let mut out = std::io::stdout();
    writeln!(out, "profile: {profile}, data: {}", deps.data.display())?;
    writeln!(out, "listening on {}", running.address())?;
    out.flush()
}

fn stop_signal() -> Result<impl Future<Output = ()>, BootError> {
    let failed = |e| BootError::system("signals can't be watched", e);
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// Services that are being served.
pub struct Running {
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    telemetry: Telemetry,
    readiness: Arc<Readiness>,
    front: Arc<dyn Front>,
    accepting: CancellationToken,
    workers_stop: CancellationToken,
    listener: JoinHandle<()>,
    workers: TaskTracker,
    failed: tokio::sync::mpsc::UnboundedReceiver<String>,
    hooks: Vec<StopHook>,
}

/// Starts services and returns once they accept calls. The spine comes last in `services`, after what it calls.
///
/// # Errors
/// When the address can't be listened on.
pub async fn start(mut services: Vec<Service>, deps: &Deps) -> Result<Running, BootError> {
    let listener = listen::bind(&deps.server, deps.tls.is_served()).await?;
    let address = listen::local(&listener)?;
    let scraped = scrape::bind(&deps.server).await?;
    let metrics = scraped.as_ref().map(|(_, at)| *at);
    let readiness = Arc::new(Readiness::of(&services).await);
    let open = readiness.routes(&services)?;
    let front: Arc<dyn Front> = Arc::new(OpenFront::new(&open, front_of(&services)));
    let (workers_stop, workers) = (CancellationToken::new(), TaskTracker::new());
    let (tell, failed) = tokio::sync::mpsc::unbounded_channel();
    for worker in services.iter_mut().flat_map(|s| s.workers.drain(..)) {
        workers.spawn(watched(worker, workers_stop.clone(), tell.clone()));
    }
    readiness.ask().await;
    workers.spawn(Arc::clone(&readiness).keep_asking(workers_stop.clone()));
    if let (Some((listener, _)), Some(registry)) = (scraped, deps.telemetry.scraped()) {
        let scraped = Scraped { registry, readiness: Arc::clone(&readiness) };
        workers.spawn(scrape::serve(listener, scraped, workers_stop.clone()));
    }
    workers.close();
    let accepting = CancellationToken::new();
    let drain = Duration::from_millis(deps.server.drain_ms);
    let served = listen::serve(listener, deps.tls.acceptor(), Arc::clone(&front), accepting.clone(), drain);
    let listener = tokio::spawn(served);
    // What calls others ends before what is called.
    let hooks = services.into_iter().rev().flat_map(|s| s.on_stop).collect();
    let telemetry = deps.telemetry.clone();
    Ok(Running {
        address,
        metrics,
        telemetry,
        readiness,
        front,
        accepting,
        workers_stop,
        listener,
        workers,
        failed,
        hooks,
    })
}

fn front_of(services: &[Service]) -> Arc<dyn Front> {
    let door = services.iter().find_map(|s| s.front.clone());
    door.unwrap_or_else(|| {
        let stacks: Vec<Stack> = services.iter().map(|s| s.stack.clone()).collect();
        Arc::new(Stacks::new(stacks))
    })
}

async fn watched(worker: Worker, stop: CancellationToken, tell: tokio::sync::mpsc::UnboundedSender<String>) {
    let ended = std::panic::AssertUnwindSafe((worker.run)(stop.clone())).catch_unwind().await;
    if ended.is_err() || !stop.is_cancelled() {
        tracing::error!(worker = worker.name, panicked = ended.is_err(), "a worker ended by itself");
        // The receiver is gone only when the process ends anyway.
        let _ = tell.send(worker.name);
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is answered, when anywhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Serves until `stopped`, or until a worker ends by itself; then drains.
    ///
    /// # Errors
    /// When a worker ended by itself.
    pub async fn until(mut self, stopped: impl Future<Output = ()>) -> Result<(), BootError> {
        let failed = tokio::select! {
            () = stopped => None,
            // Without workers nobody can tell of a failure, and the channel is closed from the beginning.
            Some(name) = self.failed.recv() => Some(name),
        };
        self.stop().await;
        failed.map_or(Ok(()), |name| Err(BootError::WorkerEnded(name)))
    }

    /// Drains: not serving → no new calls → open calls finish → workers end → stores flush and close →
    /// telemetry leaves.
    pub async fn stop(self) {
        self.readiness.none().await;
        self.front.drain();
        self.accepting.cancel();
        if self.listener.await.is_err() {
            tracing::error!("the listener panicked");
        }
        self.workers_stop.cancel();
        if tokio::time::timeout(WORKERS_PATIENCE, self.workers.wait()).await.is_err() {
            tracing::warn!("workers did not end in time");
        }
        for hook in self.hooks {
            if let Err(fault) = (hook.run)().await {
                tracing::error!(hook = hook.name, %fault, "a stop hook failed");
            }
        }
        tracing::info!("stopped");
        self.telemetry.flush().await;
    }
}
