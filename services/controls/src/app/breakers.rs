//! Breakers open, are tried out and close: each change is an event row in the transaction that saw it.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    breaker::{Breaker, BreakerCause, BreakerKind, BreakerState, Passage, Report, Transition},
    costsim::CostSimSettings,
    reasons,
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{
    App,
    costsim::{counted, rules_of},
    limits::Keyed,
    records::Caller,
};
use crate::{
    metrics,
    store::{
        breakers::{self as store, BreakerName, BreakerRow},
        events::{About, publish},
    },
    words::optional,
};

/// Breakers of which it is told at a time that their time is over.
const TOLD: i64 = 100;

/// What an order to open says.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Opening {
    pub reason: String,
    pub until: Option<Micros>,
    pub fallback_model: String,
}

impl App {
    /// Counts a report.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn report_outcome(
        &self,
        keyed: Keyed,
        name: BreakerName,
        report: Report,
    ) -> Result<pb::ReportOutcomeResponse, Fault> {
        let (now, defaults) = (self.clock.now(), self.costsim.clone());
        self.db
            .write("report_outcome", move |tx| Box::pin(count(tx, keyed, name, report, defaults, now)))
            .await
    }

    /// Says whether a target may be used, and grants its trial.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn check_breaker(
        &self,
        caller: Caller,
        name: BreakerName,
        holder: String,
    ) -> Result<pb::CheckBreakerResponse, Fault> {
        let now = self.clock.now();
        self.db.write("check_breaker", move |tx| Box::pin(check(tx, caller, name, holder, now))).await
    }

    /// Opens a breaker by order.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn open_breaker(
        &self,
        keyed: Keyed,
        name: BreakerName,
        opening: Opening,
    ) -> Result<pb::OpenBreakerResponse, Fault> {
        let now = self.clock.now();
        self.db.write("open_breaker", move |tx| Box::pin(open(tx, keyed, name, opening, now))).await
    }

    /// Closes a breaker by order.
    ///
    /// # Errors
    /// `BREAKER_NOT_FOUND`, `IDEMPOTENCY_MISMATCH`.
    pub async fn close_breaker(
        &self,
        keyed: Keyed,
        name: BreakerName,
        reason: String,
    ) -> Result<pb::CloseBreakerResponse, Fault> {
        let now = self.clock.now();
        self.db.write("close_breaker", move |tx| Box::pin(close(tx, keyed, name, reason, now))).await
    }

    /// Tells of breakers whose time is over; how many. It is over without it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell_breakers(&self) -> Result<usize, Fault> {
        let now = self.clock.now();
        self.db.write("tell_breakers", move |tx| Box::pin(tell(tx, now))).await
    }
}

async fn count(
    tx: &mut Tx,
    keyed: Keyed,
    name: BreakerName,
    report: Report,
    defaults: CostSimSettings,
    now: Micros,
) -> Result<pb::ReportOutcomeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let rules = rules_of(tx, &name, &defaults).await?;
    let mut row = store::ensure(tx, &name).await?;
    let mut breaker = row.subject()?;
    let applied = breaker.report(&report, &rules, now);
    counted(&name, &report);
    row.take(&breaker);
    row.reported_at = Some(now);
    row.drift_permille = report.drift_permille.or(row.drift_permille);
    record(tx, &keyed.caller, &mut row, &applied.transitions, "", now).await?;
    if applied.warned {
        let same = Transition { from: breaker.stored, to: breaker.stored, cause: breaker.cause };
        row.events += 1;
        store::event(tx, &row, same, ("", "a report that warns"), now).await?;
    }
    store::save(tx, &row).await?;
    let response = pb::ReportOutcomeResponse { breaker: Some(breaker_to(&row, now)?) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn check(
    tx: &mut Tx,
    caller: Caller,
    name: BreakerName,
    holder: String,
    now: Micros,
) -> Result<pb::CheckBreakerResponse, Fault> {
    let by_order = BreakerName { kind: BreakerKind::Manual, ..name.clone() };
    for name in [&by_order, &name] {
        let Some(row) = store::one(tx, name).await? else { continue };
        if let Passage::Shut(retry_after_ms) = row.subject()?.passage(&holder, now) {
            let breaker = Some(breaker_to(&row, now)?);
            return Ok(pb::CheckBreakerResponse { permitted: false, probe: false, breaker, retry_after_ms });
        }
    }
    let free = |row: &BreakerRow, probe| {
        let breaker = Some(breaker_to(row, now)?);
        Ok(pb::CheckBreakerResponse { permitted: true, probe, breaker, retry_after_ms: None })
    };
    let Some(mut row) = store::one(tx, &name).await? else {
        return free(&BreakerRow::unknown(&name), false);
    };
    let probe = row.subject()?.passage(&holder, now) == Passage::Probe;
    if probe {
        grant(tx, &caller, &mut row, &holder, now).await?;
    }
    free(&row, probe)
}

/// Gives a holder the trial of a breaker that is tried out.
pub(super) async fn grant(
    tx: &mut Tx,
    caller: &Caller,
    row: &mut BreakerRow,
    holder: &str,
    now: Micros,
) -> Result<(), Fault> {
    let mut breaker = row.subject()?;
    let moved: Vec<Transition> = breaker.grant(holder, now).into_iter().collect();
    row.take(&breaker);
    record(tx, caller, row, &moved, "", now).await?;
    Ok(store::save(tx, row).await?)
}

async fn open(
    tx: &mut Tx,
    keyed: Keyed,
    name: BreakerName,
    opening: Opening,
    now: Micros,
) -> Result<pb::OpenBreakerResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let mut row = store::ensure(tx, &name).await?;
    let mut breaker = row.subject()?;
    let mut moved: Vec<Transition> = breaker.advance(now).into_iter().collect();
    moved.push(breaker.order_open(opening.until, now));
    row.take(&breaker);
    keyed.caller.actor_id.clone_into(&mut row.actor_id);
    row.reason.clone_from(&opening.reason);
    row.fallback_model = opening.fallback_model;
    record(tx, &keyed.caller, &mut row, &moved, &opening.reason, now).await?;
    store::save(tx, &row).await?;
    let response = pb::OpenBreakerResponse { breaker: Some(breaker_to(&row, now)?) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn close(
    tx: &mut Tx,
    keyed: Keyed,
    name: BreakerName,
    reason: String,
    now: Micros,
) -> Result<pb::CloseBreakerResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let mut row = store::one(tx, &name).await?.ok_or_else(not_found)?;
    let mut breaker = row.subject()?;
    let mut moved: Vec<Transition> = breaker.advance(now).into_iter().collect();
    let closed = breaker.order_close(now);
    moved.extend(closed);
    row.take(&breaker);
    record(tx, &keyed.caller, &mut row, &moved, &reason, now).await?;
    store::save(tx, &row).await?;
    let response = pb::CloseBreakerResponse { breaker: Some(breaker_to(&row, now)?) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn tell(tx: &mut Tx, now: Micros) -> Result<usize, Fault> {
    let found = store::untold(tx, now, TOLD).await?;
    let count = found.len();
    for mut row in found {
        let caller = Caller::mesh(&row.tenant_id);
        advance(tx, &caller, &mut row, now).await?;
        store::save(tx, &row).await?;
    }
    Ok(count)
}

/// Takes over what the time has brought to a breaker, and tells of it. The caller saves it.
pub(super) async fn advance(
    tx: &mut Tx,
    caller: &Caller,
    row: &mut BreakerRow,
    now: Micros,
) -> Result<Breaker, Fault> {
    let mut breaker = row.subject()?;
    let moved: Vec<Transition> = breaker.advance(now).into_iter().collect();
    row.take(&breaker);
    record(tx, caller, row, &moved, "", now).await?;
    Ok(breaker)
}

/// Notes changes of state, and tells of them. `row` is the breaker after them.
async fn record(
    tx: &mut Tx,
    caller: &Caller,
    row: &mut BreakerRow,
    moved: &[Transition],
    note: &str,
    now: Micros,
) -> Result<(), Fault> {
    for transition in moved {
        row.events += 1;
        let ordered = transition.cause == BreakerCause::Order;
        let (actor, note) = if ordered { (caller.actor_id.as_str(), note) } else { ("", "") };
        store::event(tx, row, *transition, (actor, note), now).await?;
        let about = About {
            entity_type: "breaker",
            entity_id: row.breaker_id.clone(),
            reason: if note.is_empty() { transition.cause.name() } else { note }.to_owned(),
            before: state_json(row, transition.from),
            after: state_json(row, transition.to),
            ..About::default()
        };
        let breaker = Some(pb::Breaker { state: transition.to.code(), ..breaker_to(row, now)? });
        let kind = BreakerKind::from_code(row.kind).map_or("", BreakerKind::name);
        metrics::BREAKER_TRANSITIONS.increment(&[("kind", kind), ("to", transition.to.name())]);
        match transition.to {
            BreakerState::Open => {
                publish(tx, caller, "BreakerOpened", about, &pb::BreakerOpened { breaker }, now);
            }
            BreakerState::HalfOpen => {
                publish(tx, caller, "BreakerHalfOpen", about, &pb::BreakerHalfOpen { breaker }, now);
            }
            BreakerState::Closed => {
                let (cause, reason) = (transition.cause.code(), note.to_owned());
                let closed = pb::BreakerClosed { breaker, cause, reason };
                publish(tx, caller, "BreakerClosed", about, &closed, now);
            }
        }
    }
    Ok(())
}

fn state_json(row: &BreakerRow, state: BreakerState) -> String {
    format!("{{\"openings\":{},\"state\":\"{}\"}}", row.openings, state.name())
}

/// No such breaker.
#[must_use]
pub fn not_found() -> Fault {
    Fault::new(&reasons::BREAKER_NOT_FOUND, "nothing was ever said about a breaker of this target")
}

/// A breaker as it travels.
///
/// # Errors
/// When a stored word is not known.
pub fn breaker_to(row: &BreakerRow, now: Micros) -> Result<pb::Breaker, Fault> {
    let breaker: Breaker = row.subject()?;
    let state = breaker.state(now);
    let (calls, failures) = breaker.counts.sums(now);
    let opened = breaker.openings > 0;
    let tried = state == BreakerState::HalfOpen && breaker.stored == BreakerState::HalfOpen;
    let probe = breaker.probe.filter(|p| tried && now < p.until);
    let open = state == BreakerState::Open;
    Ok(pb::Breaker {
        breaker_id: row.breaker_id.clone(),
        kind: row.kind,
        target_type: row.target_type,
        target_id: row.target_id.clone(),
        state: state.code(),
        severity: if opened { row.severity } else { 0 },
        cause: if opened { row.cause } else { 0 },
        reason: row.reason.clone(),
        actor_id: row.actor_id.clone(),
        opened_at: opened.then(|| timestamp(row.opened_at)),
        open_until: optional(row.open_until.filter(|_| open)),
        openings: row.openings,
        in_a_row: row.in_a_row,
        calls,
        failures,
        schema_errors: u32::try_from(breaker.schema_errors.len()).unwrap_or(u32::MAX),
        probes_passed: if tried { breaker.passed } else { 0 },
        probe_holder: probe.as_ref().map(|p| p.holder.clone()).unwrap_or_default(),
        probe_until: probe.map(|p| timestamp(p.until)),
        fallback_model: row.fallback_model.clone(),
        reported_at: optional(row.reported_at),
        drift_permille: row.drift_permille,
    })
}
