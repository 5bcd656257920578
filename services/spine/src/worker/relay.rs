//! Carries events from the outboxes of the domains to where they belong: governance events to the ledger, facts to the
//! run projection, the lives of instances to the system records. At least once, and harmless when twice: the ledger knows an event by its id, the projection a fact
//! by its own.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use contracts_activity::v1::{ApplyFactsRequest, Fact, FactResult};
use contracts_common::{common::v1::EventEnvelope, contract::v1::Ledger};
use contracts_logs::v1::{AppendEntriesRequest, LedgerEvent, LedgerScope};
use runspine_rpc::{Context, Registry, micros};
use runspine_types::Clock;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{life, outbox::Outboxes, projection, reconciler::Tally};
use crate::{
    bridges::{ActivityViewBridge, Called, LogsLedgerBridge, LogsSystemBridge, Targets},
    config::RelayConfig,
    metrics,
};

/// Calls that the relay makes.
pub const CALLS: &[&str] = &[
    "runspine.activity.v1.EventService/PullEvents",
    "runspine.activity.v1.EventService/AckEvents",
    "runspine.incidents.v1.EventService/PullEvents",
    "runspine.incidents.v1.EventService/AckEvents",
    "runspine.policies.v1.EventService/PullEvents",
    "runspine.policies.v1.EventService/AckEvents",
    "runspine.controls.v1.EventService/PullEvents",
    "runspine.controls.v1.EventService/AckEvents",
    "runspine.logs.v1.EventService/PullEvents",
    "runspine.logs.v1.EventService/AckEvents",
    "runspine.logs.v1.LedgerService/AppendEntries",
    "runspine.logs.v1.RecordService/AppendSystemRecord",
    "runspine.activity.v1.RunStoreService/ApplyFacts",
];

/// The name under which the outboxes keep the relay's place.
pub const CONSUMER: &str = "spine.relay";

/// Facts of one call: the projection of a run is summed once a call, however many of them are about it.
const FACTS: usize = 1_024;
/// Time in which events gather after a batch that was not full.
const GATHER: Duration = Duration::from_millis(100);
/// The most of it, however slow carrying is.
const MOST_GATHER: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(500);

/// The worker that relays.
pub struct Relay {
    outboxes: Outboxes,
    ledger: LogsLedgerBridge,
    system: LogsSystemBridge,
    views: ActivityViewBridge,
    context: Context,
    config: RelayConfig,
    clock: Arc<dyn Clock>,
    scopes: HashMap<String, Ledger>,
    tally: Arc<Tally>,
}

impl Relay {
    /// A relay that acts under `context`, the worker's own.
    #[must_use]
    pub fn new(
        to: &Targets,
        context: Context,
        config: RelayConfig,
        registry: &Registry,
        tally: Arc<Tally>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let scopes = registry.events().map(|e| (e.name.clone(), e.ledger)).collect();
        Self {
            outboxes: Outboxes::new(to, CONSUMER),
            ledger: LogsLedgerBridge::new(to.logs.clone()),
            system: LogsSystemBridge::new(to.logs.clone()),
            views: ActivityViewBridge::new(to.activity.clone()),
            context,
            config,
            clock,
            scopes,
            tally,
        }
    }

    /// Works until `stop`; each outbox at its own pace, so that a silent domain holds up no other.
    pub async fn run(self, stop: CancellationToken) {
        let relay = Arc::new(self);
        let lanes = Outboxes::DOMAINS.map(|domain| {
            let (relay, stop) = (Arc::clone(&relay), stop.clone());
            async move { relay.lane(domain, stop).await }
        });
        futures::future::join_all(lanes).await;
    }

    async fn lane(&self, domain: &'static str, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let wait = match self.carry(domain).await {
                Ok(0) => Duration::from_millis(self.config.poll_ms.max(1)),
                Ok(count) if count >= self.config.batch as usize => continue,
                // What is carried together costs less; and carrying never takes more than a third of the time.
                Ok(_) => GATHER.max(2 * begun.elapsed()).min(MOST_GATHER),
                Err(miss) => {
                    tracing::warn!(domain, ?miss, "events wait in their outbox");
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Carries one batch and gives how many events it held.
    async fn carry(&self, domain: &'static str) -> Called<usize> {
        let events = self.outboxes.pull(&self.context, domain, self.config.batch).await?;
        let Some(last) = events.last().map(|e| e.sequence) else { return Ok(0) };
        self.tell_lag(domain, &events);
        // What logs has to say about itself it put on the ledger in its own commits.
        if domain != "logs" {
            self.to_ledger(&events).await?;
        }
        self.to_projection(&events).await?;
        for record in events.iter().filter_map(life::heard) {
            self.system.append(&self.context, record).await?;
        }
        self.outboxes.ack(&self.context, domain, last).await?;
        let count = events.len();
        metrics::EVENTS.add(u64::try_from(count).unwrap_or(0), &[("domain", domain)]);
        self.tally.events_relayed.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        Ok(count)
    }

    #[allow(clippy::cast_precision_loss, reason = "an age in microseconds")]
    fn tell_lag(&self, domain: &'static str, events: &[EventEnvelope]) {
        let oldest = events.iter().filter_map(|e| e.time.as_ref()).map(micros).min();
        if let Some(oldest) = oldest {
            let age = self.clock.now().0.saturating_sub(oldest.0).max(0);
            metrics::LAG.set(age as f64 / 1e6, &[("domain", domain)]);
        }
    }

    async fn to_ledger(&self, events: &[EventEnvelope]) -> Called<()> {
        for (tenant, events) in by_tenant(events) {
            let entries: Vec<LedgerEvent> = events.iter().filter_map(|e| self.entry(e)).collect();
            if entries.is_empty() {
                continue;
            }
            let context = self.context.with(|call| tenant.clone_into(&mut call.tenant_id));
            self.ledger.append(&context, AppendEntriesRequest { entries }).await?;
        }
        Ok(())
    }

    fn entry(&self, event: &EventEnvelope) -> Option<LedgerEvent> {
        let scope = match (self.scopes.get(&event.r#type)?, event.run_id.is_empty()) {
            (Ledger::None | Ledger::Unspecified, _) => return None,
            (Ledger::Admin, _) | (Ledger::Either, true) => LedgerScope::Admin,
            (Ledger::Run, _) | (Ledger::Either, false) => LedgerScope::Run,
        };
        let of_run = scope == LedgerScope::Run;
        Some(LedgerEvent {
            event_id: event.id.clone(),
            event_type: event.r#type.clone(),
            scope: scope.into(),
            run_id: if of_run { event.run_id.clone() } else { String::new() },
            attempt: if of_run { event.attempt } else { 0 },
            step_index: if of_run { event.step_index } else { None },
            correlation_id: event.correlation_id.clone(),
            causation_id: event.causation_id.clone(),
            entity_type: event.entity_type.clone(),
            entity_id: event.entity_id.clone(),
            actor: event.actor.clone(),
            reason: event.reason.clone(),
            before_state: event.before_state.clone(),
            after_state: event.after_state.clone(),
            after_digest: bytes::Bytes::new(),
            occurred_at: event.time,
        })
    }

    async fn to_projection(&self, events: &[EventEnvelope]) -> Called<()> {
        for (tenant, events) in by_tenant(events) {
            let facts: Vec<Fact> = events.iter().flat_map(|e| projection::facts(e)).collect();
            let context = self.context.with(|call| tenant.clone_into(&mut call.tenant_id));
            for facts in facts.chunks(FACTS) {
                let answer =
                    self.views.apply_facts(&context, ApplyFactsRequest { facts: facts.to_vec() }).await?;
                for refused in answer.receipts.iter().filter(|r| r.result() == FactResult::Refused) {
                    tracing::error!(
                        fact = refused.fact_id,
                        reason = refused.reason,
                        "a fact was refused for good"
                    );
                }
            }
        }
        Ok(())
    }
}

fn by_tenant(events: &[EventEnvelope]) -> Vec<(&str, Vec<&EventEnvelope>)> {
    let mut groups: Vec<(&str, Vec<&EventEnvelope>)> = Vec::new();
    for event in events {
        match groups.iter_mut().find(|(tenant, _)| *tenant == event.tenant_id) {
            Some((_, group)) => group.push(event),
            None => groups.push((&event.tenant_id, vec![event])),
        }
    }
    groups
}
