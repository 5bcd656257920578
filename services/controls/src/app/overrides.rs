//! Overrides: asked for by one, approved by others, and read at every admission.

use contracts_common::common::v1::ActorType;
use contracts_controls::v1 as pb;
use prost::Message;
use runspine_controls_domain::{
    limit::EACH,
    overrides::{Decision, MOST_OPEN, Override, OverrideState, Wanted},
    reasons,
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{App, limits::Keyed, records::Caller};
use crate::{
    store::{
        events::{About, publish},
        limits::{self, bump, mark},
        overrides::{self as store, APPROVED, OverrideRow, SaidRow, UseRow},
    },
    words::optional,
};

/// Overrides that are told of at a time.
const MOST_TOLD: i64 = 100;

/// What is done to an override.
#[derive(Debug, Clone)]
pub enum Act {
    /// One more person agrees.
    Approve {
        /// The version seen.
        seen: u32,
        /// In words.
        note: String,
    },
    /// An approver says no.
    Reject {
        /// The version seen.
        seen: u32,
        /// Why.
        reason: String,
    },
    /// It is taken back.
    Cancel {
        /// Why.
        reason: String,
    },
}

impl App {
    /// Asks for an override.
    ///
    /// # Errors
    /// `LIMIT_NOT_FOUND`, `LIMIT_DISABLED`, `AMOUNT_INVALID`, `WINDOW_INVALID`, `OVERRIDE_OPEN`, `STACKING_EXCEEDED`,
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn request_override(
        &self,
        keyed: Keyed,
        limit_id: String,
        wanted: Wanted,
        reason: String,
    ) -> Result<pb::RequestOverrideResponse, Fault> {
        let now = self.clock.now();
        self.db
            .write("request_override", move |tx| Box::pin(request(tx, keyed, limit_id, wanted, reason, now)))
            .await
    }

    /// Decides on an override; `answer` makes the response of the call.
    ///
    /// # Errors
    /// `OVERRIDE_NOT_FOUND`, `OVERRIDE_TRANSITION_INVALID`, `VERSION_CONFLICT`, `SELF_APPROVAL`,
    /// `SECOND_PERSON_REQUIRED`, `HUMAN_REQUIRED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn decide_override<M: Message + Default + 'static>(
        &self,
        keyed: Keyed,
        id: String,
        act: Act,
        answer: fn(pb::Override) -> M,
    ) -> Result<M, Fault> {
        let now = self.clock.now();
        self.db
            .write("decide_override", move |tx| {
                Box::pin(async move {
                    if let Some(first) = keyed.first(tx).await? {
                        return Ok(first);
                    }
                    let response = answer(decide(tx, &keyed.caller, &id, act, now).await?);
                    keyed.keep(tx, &response, now).await?;
                    Ok(response)
                })
            })
            .await
    }

    /// Tells of overrides that began or ended; how many. What they do needs no telling.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell_overrides(&self) -> Result<usize, Fault> {
        let now = self.clock.now();
        self.db.write("tell_overrides", move |tx| Box::pin(tell(tx, now))).await
    }
}

async fn request(
    tx: &mut Tx,
    keyed: Keyed,
    limit_id: String,
    wanted: Wanted,
    reason: String,
    now: Micros,
) -> Result<pb::RequestOverrideResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let tenant = keyed.caller.tenant_id.clone();
    let limit = limits::one(tx, &tenant, &limit_id).await?;
    let limit = limit
        .ok_or_else(|| Fault::new(&reasons::LIMIT_NOT_FOUND, "no such limit").with("limit_id", &limit_id))?;
    let needed = wanted.check(&limit, now)?;
    // Requests of a tenant come one after the other, so that the number of open ones is what it is.
    bump(tx, &format!("overrides/{tenant}")).await?;
    let whole = limit.spec.scope_id != EACH;
    let scope_id = if whole { String::new() } else { wanted.scope_id };
    expect_room(&store::open(tx, &tenant, now).await?, limit.key, &scope_id, now)?;
    let row = OverrideRow {
        override_key: 0,
        override_id: new_id(),
        tenant_id: tenant,
        limit_key: limit.key,
        limit_id,
        scope_id,
        value: wanted.value,
        base_value: limit.spec.max_value,
        needed,
        decision: Decision::Open.code(),
        requested_by: keyed.caller.actor_id.clone(),
        reason,
        requested_at: now,
        starts_at: wanted.starts_at,
        ends_at: wanted.ends_at,
        version: 1,
        told: 0,
    };
    store::add(tx, &row).await?;
    let shown = present(&row, &[], now)?;
    let data = pb::OverrideRequested { r#override: Some(shown.clone()) };
    publish(tx, &keyed.caller, "OverrideRequested", about(&row, "", "PENDING", &row.reason), &data, now);
    let response = pb::RequestOverrideResponse { r#override: Some(shown) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

fn expect_room(open: &[Override], limit: i64, scope_id: &str, now: Micros) -> Result<(), Fault> {
    let open: Vec<&Override> = open.iter().filter(|o| o.is_open(now)).collect();
    if let Some(other) = open.iter().find(|o| o.limit_key == limit && o.scope_id == scope_id) {
        let text = "an override of this limit is open";
        return Err(Fault::new(&reasons::OVERRIDE_OPEN, text).with("override_id", &other.id));
    }
    if i64::try_from(open.len()).unwrap_or(i64::MAX) >= MOST_OPEN {
        let text = format!("a tenant has at most {MOST_OPEN} open overrides");
        return Err(Fault::new(&reasons::STACKING_EXCEEDED, &text).quota("overrides", text));
    }
    Ok(())
}

async fn decide(
    tx: &mut Tx,
    caller: &Caller,
    id: &str,
    act: Act,
    now: Micros,
) -> Result<pb::Override, Fault> {
    let found = store::one(tx, &caller.tenant_id, id).await?;
    let mut row = found.ok_or_else(not_found)?;
    let before = row.subject()?;
    let history = store::history(tx, row.override_key).await?;
    let approvers: Vec<String> =
        history.iter().filter(|s| s.action == APPROVED).map(|s| s.actor_id.clone()).collect();
    let by = caller.actor_id.as_str();
    let (next, action, event, note) = match act {
        Act::Approve { seen, note } => {
            expect_human(caller)?;
            (before.approve(seen, &approvers, by, now)?, APPROVED, "OverrideApproved", note)
        }
        Act::Reject { seen, reason } => {
            expect_human(caller)?;
            (before.reject(seen, by, now)?, "REJECTED", "OverrideRejected", reason)
        }
        Act::Cancel { reason } => {
            (before.cancel(&approvers, by, now)?, "CANCELLED", "OverrideCancelled", reason)
        }
    };
    if !store::decide(tx, &next).await? {
        return Err(Fault::new(&reasons::VERSION_CONFLICT, "the override was decided on in the meantime"));
    }
    store::said(tx, next.key, next.version, (action, by, &note), now).await?;
    // Whoever keeps the limits in memory reads them anew.
    bump(tx, &mark(&caller.tenant_id)).await?;
    (row.decision, row.starts_at, row.version) = (next.decision.code(), next.starts_at, next.version);
    let said = store::history(tx, next.key).await?;
    let shown = present(&row, &said, now)?;
    let about = about(&row, before.state(now).name(), next.state(now).name(), &note);
    let of = Some(shown.clone());
    match event {
        "OverrideApproved" => {
            publish(tx, caller, event, about, &pb::OverrideApproved { r#override: of }, now)
        }
        "OverrideRejected" => {
            publish(tx, caller, event, about, &pb::OverrideRejected { r#override: of }, now)
        }
        _ => publish(tx, caller, event, about, &pb::OverrideCancelled { r#override: of }, now),
    }
    Ok(shown)
}

/// That a person acts.
pub(super) fn expect_human(caller: &Caller) -> Result<(), Fault> {
    if caller.actor_type == ActorType::Human as i32 {
        return Ok(());
    }
    Err(Fault::new(&reasons::HUMAN_REQUIRED, "only a person decides on this"))
}

async fn tell(tx: &mut Tx, now: Micros) -> Result<usize, Fault> {
    let rows = store::untold(tx, now, MOST_TOLD).await?;
    for row in &rows {
        let subject = row.subject()?;
        let said = store::history(tx, row.override_key).await?;
        let shown = Some(present(row, &said, now)?);
        let caller = Caller::mesh(&row.tenant_id);
        if subject.state(now) == OverrideState::Expired {
            let about = about(row, "", "EXPIRED", "");
            publish(tx, &caller, "OverrideExpired", about, &pb::OverrideExpired { r#override: shown }, now);
            store::tell(tx, row.override_key, 2).await?;
        } else {
            let about = about(row, "APPROVED", "ACTIVE", "");
            publish(
                tx,
                &caller,
                "OverrideActivated",
                about,
                &pb::OverrideActivated { r#override: shown },
                now,
            );
            store::tell(tx, row.override_key, 1).await?;
        }
    }
    Ok(rows.len())
}

/// No such override.
#[must_use]
pub fn not_found() -> Fault {
    Fault::new(&reasons::OVERRIDE_NOT_FOUND, "no such override")
}

fn about(row: &OverrideRow, before: &str, after: &str, reason: &str) -> About {
    let state = |name: &str| {
        if name.is_empty() {
            return String::new();
        }
        format!("{{\"limit_id\":\"{}\",\"state\":\"{name}\",\"value\":{}}}", row.limit_id, row.value)
    };
    About {
        entity_type: "override",
        entity_id: row.override_id.clone(),
        reason: reason.to_owned(),
        before: state(before),
        after: state(after),
        ..About::default()
    }
}

/// An override as it travels.
///
/// # Errors
/// When a stored word is not known.
pub fn present(row: &OverrideRow, said: &[SaidRow], now: Micros) -> Result<pb::Override, Fault> {
    let to = |s: &SaidRow| pb::OverrideApproval {
        actor_id: s.actor_id.clone(),
        note: s.note.clone(),
        at: Some(timestamp(s.at)),
    };
    Ok(pb::Override {
        override_id: row.override_id.clone(),
        limit_id: row.limit_id.clone(),
        scope_id: row.scope_id.clone(),
        value: row.value,
        base_value: row.base_value,
        state: row.subject()?.state(now).code(),
        version: row.version,
        requested_by: row.requested_by.clone(),
        reason: row.reason.clone(),
        requested_at: Some(timestamp(row.requested_at)),
        starts_at: optional(row.starts_at),
        ends_at: Some(timestamp(row.ends_at)),
        approvals_needed: row.needed,
        approvals: said.iter().filter(|s| s.action == APPROVED).map(to).collect(),
        ended_by: said.iter().find(|s| matches!(s.action.as_str(), "REJECTED" | "CANCELLED")).map(to),
    })
}

/// A use as it travels.
#[must_use]
pub fn use_to(row: UseRow) -> pb::OverrideUse {
    let UseRow { override_id, run_id, attempt, value_without, value_with, .. } = row;
    let (step_index, at) = (u32::try_from(row.step_index).ok(), Some(timestamp(row.at)));
    pb::OverrideUse { override_id, run_id, attempt, step_index, value_without, value_with, at }
}
