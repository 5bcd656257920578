//! The workers: one gives back what is held under leases that lapsed, one finds out which freezes are contained, one
//! freezes the agents whose guardrails tripped, one notes which replicas of the spine are alive.

use std::time::Duration;

use runspine_errors::Fault;
use runspine_types::Micros;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{
        App, EXPIRY_MS,
        accounts::{Call, Out},
    },
    store::{containment, views},
};

/// Runs that are ended at a time.
const MOST: i64 = 256;

/// Sweeps until it is stopped. A failed sweep is told and tried again: everything in it can be repeated.
pub async fn sweep(app: App, every: Duration, stop: CancellationToken) {
    loop {
        match sweep_once(&app).await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "accounts of runs with a lapsed lease were ended"),
            Err(fault) => tracing::warn!(%fault, "a sweep failed"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// How long a freeze is judged although it was lifted, milliseconds.
const JUDGED_MS: i64 = 600_000;
/// How often open freezes are judged.
const JUDGE_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked whether guardrails tripped.
const GUARD_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked which overrides began or ended.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How often it is noted which replicas are alive.
const PRESENT_EVERY: Duration = Duration::from_secs(1);

/// Finds out until it is stopped which freezes are contained.
pub async fn judge(app: App, stop: CancellationToken) {
    loop {
        let since = app.clock.now().plus_millis(-JUDGED_MS);
        if let Err(fault) = app.judge_all(since).await {
            tracing::warn!(%fault, "freezes were not judged");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(JUDGE_EVERY) => {}
        }
    }
}

/// Freezes until it is stopped the agents whose guardrails tripped.
pub async fn guard(app: App, stop: CancellationToken) {
    loop {
        match app.freeze_tripped().await {
            Ok(0) => {}
            Ok(frozen) => tracing::warn!(frozen, "guardrails froze agents"),
            Err(fault) => tracing::warn!(%fault, "agents whose guardrails tripped were not frozen"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(GUARD_EVERY) => {}
        }
    }
}

/// Tells until it is stopped of overrides that began or ended, of bypasses that ended and of breakers whose time is over.
/// They do so without it.
pub async fn tell(app: App, stop: CancellationToken) {
    loop {
        if let Err(fault) = app.tell_overrides().await {
            tracing::warn!(%fault, "overrides were not told of");
        }
        if let Err(fault) = app.tell_bypasses().await {
            tracing::warn!(%fault, "bypasses were not told of");
        }
        if let Err(fault) = app.tell_breakers().await {
            tracing::warn!(%fault, "breakers were not told of");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TELL_EVERY) => {}
        }
    }
}

/// Notes until it is stopped which replicas of the spine follow the epoch here, for freezes that other processes commit.
pub async fn present(app: App, stop: CancellationToken) {
    loop {
        let (names, now) = (app.watchers.names(), app.clock.now());
        if !names.is_empty() {
            let noted = app.db.write("replicas_present", move |tx| {
                Box::pin(async move { Ok::<_, Fault>(containment::present(tx, &names, now).await?) })
            });
            if let Err(fault) = noted.await {
                tracing::warn!(%fault, "it was not noted which replicas are alive");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRESENT_EVERY) => {}
        }
    }
}

/// How often what was learned of steps is written.
const LEARN_EVERY: Duration = Duration::from_secs(1);

/// Writes until it is stopped, and once more then, what steps used.
pub async fn learn(app: App, stop: CancellationToken) {
    loop {
        if let Err(fault) = app.write_histories().await {
            tracing::warn!(%fault, "what steps used was not written; it is tried again");
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LEARN_EVERY) => {}
        }
    }
}

/// How often what is only there to be read is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Looks until it is stopped at what metrics say of the present.
pub async fn sample(app: App, stop: CancellationToken) {
    loop {
        if let Err(fault) = app.sample().await {
            tracing::warn!(%fault, "holds and freezes were not looked at");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SAMPLE_EVERY) => {}
        }
    }
}

/// One sweep: how many accounts it ended.
///
/// # Errors
/// When the store fails.
pub async fn sweep_once(app: &App) -> Result<usize, Fault> {
    let now = app.clock.now();
    let before = Micros(now.0.saturating_sub(EXPIRY_MS * 1_000));
    let mut ended = 0;
    loop {
        let lapsed = views::lapsed(app.db.read(), before, MOST).await?;
        let found = lapsed.len();
        let calls =
            lapsed.into_iter().map(|(tenant_id, run)| app.accounts.submit(Call::Lapse { tenant_id, run }));
        let mut progress = 0;
        for outcome in futures::future::join_all(calls).await {
            progress += usize::from(matches!(outcome?, Out::Lapsed(true)));
        }
        ended += progress;
        // Fewer than a page, or all of them renewed in the meantime: nothing is left to be done.
        if found < usize::try_from(MOST).unwrap_or(usize::MAX) || progress == 0 {
            return Ok(ended);
        }
    }
}
