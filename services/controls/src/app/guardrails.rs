//! Guardrails: given to a tenant that is seen the first time, set by people, tripped by what agents do.

use std::collections::BTreeSet;

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    freeze::{FreezeEffect, FreezeScope},
    guardrail::{Defaults, Guardrail, Setting, trips},
    limit::{Limit, permille},
    reasons,
    signal::{RiskLevel, SignalType},
    words::{BreachType, Unit},
};
use runspine_db::{DbError, Tx};
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{
    App,
    freezes::{self, NewFreeze},
    limits::{Keyed, created, publish_change, settle_up},
    records::{Caller, NewBreach, NewSignal},
};
use crate::{
    store::{
        caches::Caches,
        desk::Desk,
        guardrails::{self as store, FailureCounts, TripRow},
        limits,
        locks::Locking,
        views,
    },
    words::stored,
};

/// Trips that are looked at at a time.
const MOST_TRIPS: i64 = 100;
/// Stands for the freeze of a trip whose time was over before it could begin.
const TOO_LATE: &str = "LATE";

/// What somebody wants of a guardrail.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Wish {
    pub guardrail: Guardrail,
    pub setting: Setting,
    pub reason: String,
    /// Whose; empty: the caller's own.
    pub tenant_id: String,
}

/// How steps of an agent ended.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StepsEnded {
    pub agent_id: String,
    pub steps: u32,
    pub failed: u32,
}

impl App {
    /// Every limit that counts for a tenant, and the guardrails that its first call will give it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn limits_of(&self, tenant: &str) -> Result<Vec<Limit>, DbError> {
        let mut limits = views::in_force(self.db.read(), tenant).await?;
        if let Some(defaults) = self.guardrails.filter(|_| tenant != PLATFORM_TENANT) {
            limits.extend(defaults.missing(tenant, &limits, self.clock.now()));
        }
        Ok(limits)
    }

    /// Sets a guardrail.
    ///
    /// # Errors
    /// `OPERATOR_REQUIRED`, `THRESHOLD_OUT_OF_RANGE`, `VERSION_CONFLICT`, `IDEMPOTENCY_MISMATCH`.
    pub async fn set_guardrail(&self, keyed: Keyed, wish: Wish) -> Result<pb::SetGuardrailResponse, Fault> {
        let (now, defaults) = (self.clock.now(), self.guardrails.unwrap_or_default());
        self.db.write("set_guardrail", move |tx| Box::pin(set(tx, keyed, wish, defaults, now))).await
    }

    /// Counts how steps of an agent ended.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn report_steps(
        &self,
        keyed: Keyed,
        ended: StepsEnded,
    ) -> Result<pb::ReportStepsResponse, Fault> {
        let (now, guardrails) = (self.clock.now(), self.guardrails);
        self.db.write("report_steps", move |tx| Box::pin(report(tx, keyed, ended, guardrails, now))).await
    }

    /// Freezes the agents whose guardrails tripped; how many. An admission can't: it holds the epoch that a freeze raises.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn freeze_tripped(&self) -> Result<usize, Fault> {
        let mut frozen = 0;
        for trip in store::open_trips(self.db.read(), MOST_TRIPS).await? {
            let (now, watching, breach) = (self.clock.now(), self.watchers.names(), trip.breach_id.clone());
            let done =
                self.db.write("freeze_tripped", move |tx| Box::pin(freeze(tx, trip, watching, now))).await;
            match done {
                Ok(()) => frozen += 1,
                // It stands still already: that freeze is this trip's too.
                Err(fault) if fault.is(&reasons::ALREADY_FROZEN) => {
                    let standing = fault.metadata().get("freeze_id").cloned().unwrap_or_default();
                    self.db
                        .write("freeze_stands", move |tx| {
                            Box::pin(async move { Ok(store::froze(tx, &breach, &standing).await?) })
                        })
                        .await?;
                }
                // Another replica was quicker.
                Err(fault) if fault.is(&reasons::VERSION_CONFLICT) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(frozen)
    }
}

impl Desk<'_> {
    /// Gives a tenant the guardrails that it lacks.
    pub(crate) async fn give_guardrails(&mut self, tenant: &str, missing: &[Limit]) -> Result<(), DbError> {
        give(self.tx, tenant, missing, self.at).await
    }
}

async fn give(tx: &mut Tx, tenant: &str, missing: &[Limit], now: Micros) -> Result<(), DbError> {
    let caller = Caller::mesh(tenant);
    for limit in store::add(tx, tenant, missing, &caller.actor_id).await? {
        created(tx, &caller, &limit, now);
    }
    Ok(())
}

async fn set(
    tx: &mut Tx,
    keyed: Keyed,
    wish: Wish,
    defaults: Defaults,
    now: Micros,
) -> Result<pb::SetGuardrailResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let Wish { guardrail, setting, reason, tenant_id } = wish;
    let operator = keyed.caller.tenant_id == PLATFORM_TENANT;
    let tenant = if tenant_id.is_empty() { keyed.caller.tenant_id.clone() } else { tenant_id };
    if tenant != keyed.caller.tenant_id && !operator {
        let text = "only an operator sets a guardrail of another tenant";
        return Err(Fault::new(&reasons::OPERATOR_REQUIRED, text));
    }
    let before = known(tx, &tenant, guardrail, defaults, now).await?;
    let after = guardrail.set(&before, setting, defaults.of(guardrail), operator, now)?;
    if !limits::change(tx, &tenant, &after, &reason, &keyed.caller.actor_id).await? {
        return Err(Fault::new(&reasons::VERSION_CONFLICT, "the guardrail was changed in the meantime"));
    }
    settle_up(tx, &tenant, after.key, after.spec.max_value > before.spec.max_value, now).await?;
    // On the ledger of the tenant whose guardrail it is, whoever has set it.
    let caller = Caller { tenant_id: tenant, ..keyed.caller.clone() };
    publish_change(tx, &caller, (&before, &after), &reason, now);
    let guardrail = Some(guardrail_to(guardrail, &after, defaults));
    let response = pb::SetGuardrailResponse { guardrail };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

/// The limit of a guardrail, made with all others of the tenant when this is its first call.
async fn known(
    tx: &mut Tx,
    tenant: &str,
    guardrail: Guardrail,
    defaults: Defaults,
    now: Micros,
) -> Result<Limit, Fault> {
    let id = guardrail.limit_id(tenant);
    if let Some(limit) = limits::one(tx, tenant, &id).await? {
        return Ok(limit);
    }
    let missing = defaults.missing(tenant, &limits::all(tx, tenant).await?, now);
    give(tx, tenant, &missing, now).await?;
    let made = limits::one(tx, tenant, &id).await?;
    made.ok_or_else(|| Fault::new(&reasons::LIMIT_EXISTS, "another limit of the tenant has this name"))
}

async fn report(
    tx: &mut Tx,
    keyed: Keyed,
    ended: StepsEnded,
    guardrails: Option<Defaults>,
    now: Micros,
) -> Result<pb::ReportStepsResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let tenant = keyed.caller.tenant_id.clone();
    let caches = Caches::guarding(guardrails);
    let mut desk = Desk::open(tx, &caches, &[&tenant], Locking::AsNeeded, now).await?;
    let set = desk.set(&tenant);
    let mine = set.active.iter().find(|l| Guardrail::of(l) == Some(Guardrail::AgentFailures));
    let mut response = pb::ReportStepsResponse::default();
    if let Some(limit) = mine {
        let key = desk.envelope_for(limit, &tenant, &ended.agent_id, now).await?;
        desk.lock_envelopes(&BTreeSet::from([key])).await?;
        response = desk.count_steps(key, &ended, now).await?;
    }
    desk.flush(now).await?;
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

impl Desk<'_> {
    /// Counts how steps of an agent ended, under the envelope of its guardrail.
    async fn count_steps(
        &mut self,
        envelope: i64,
        ended: &StepsEnded,
        now: Micros,
    ) -> Result<pb::ReportStepsResponse, Fault> {
        let (limit, row) =
            self.envelope(envelope).ok_or_else(|| super::defect("an envelope was not made"))?;
        let mut counts = store::counts(self.tx, envelope).await?;
        counts.note(ended.steps, ended.failed, now);
        let (steps, failed) = counts.sums(now);
        let most = limit.spec.max_value;
        let tripped = trips(steps, failed, most);
        if tripped {
            counts = FailureCounts::default();
            let value = i64::from(failed);
            self.signal(NewSignal {
                run: 0,
                tenant: Some(row.tenant_id.clone()),
                kind: SignalType::Reliability,
                source: limit.id.clone(),
                level: RiskLevel::Violated,
                window: now,
                metric: "failed_steps".to_owned(),
                unit: Unit::Steps,
                current: value,
                limit_value: most,
                permille: permille(value, most),
                step: None,
                at: now,
            });
            self.breach(NewBreach {
                envelope,
                period_start: now,
                run: 0,
                step: None,
                kind: BreachType::Violated,
                value,
                limit_value: most,
                override_id: None,
                orders: true,
                at: now,
            });
        }
        store::keep_counts(self.tx, envelope, &counts, now).await?;
        Ok(pb::ReportStepsResponse { steps, failed, tripped })
    }
}

async fn freeze(tx: &mut Tx, trip: TripRow, watching: Vec<String>, now: Micros) -> Result<(), Fault> {
    let guardrail = stored(Guardrail::from_code(trip.guardrail))?;
    let Some((reason, _)) = guardrail.freezes(trip.tripped_at).filter(|_| trip.freeze_until > now) else {
        store::froze(tx, &trip.breach_id, TOO_LATE).await?;
        return Ok(());
    };
    let new = NewFreeze {
        scope: FreezeScope::Agent,
        scope_id: trip.scope_id,
        effect: FreezeEffect::Pause.code(),
        reason: reason.code(),
        note: format!("{} tripped: {} where {} is the most", guardrail.name(), trip.value, trip.limit_value),
        expires_at: Some(trip.freeze_until),
    };
    let caller = Caller::mesh(&trip.tenant_id);
    let record = freezes::commit(tx, &caller, new, true, &watching, now).await?;
    if store::froze(tx, &trip.breach_id, &record.freeze_id).await? {
        return Ok(());
    }
    Err(Fault::new(&reasons::VERSION_CONFLICT, "the trip has its freeze already"))
}

/// A guardrail as it travels.
#[must_use]
pub fn guardrail_to(guardrail: Guardrail, limit: &Limit, defaults: Defaults) -> pb::Guardrail {
    let (least, most) = guardrail.range();
    let spec = &limit.spec;
    pb::Guardrail {
        guardrail_id: guardrail.name().to_owned(),
        limit_id: limit.id.clone(),
        priority: guardrail as u32,
        category: guardrail.category().code(),
        kind: guardrail.kind().code(),
        scope: spec.scope.code(),
        unit: spec.unit.code(),
        value: spec.max_value,
        default_value: defaults.of(guardrail),
        least,
        most,
        window_s: guardrail.window_s(),
        actions: guardrail.actions().iter().map(|action| action.code()).collect(),
        freeze_s: guardrail.freeze_s(),
        consequence: spec.consequence.code(),
        state: limit.state.code(),
        version: limit.version,
        updated_at: (limit.key != 0).then(|| timestamp(limit.updated_at)),
    }
}
