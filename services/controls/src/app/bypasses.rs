//! Bypasses: asked for by one person, approved by another, confirmed by every admission and noted with every step.

use contracts_controls::v1 as pb;
use prost::Message;
use runspine_controls_domain::{
    bypass::{BypassDecision, BypassScope, BypassState, DAY_MS, expect_room},
    reasons,
};
use runspine_db::Tx;
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{App, limits::Keyed, overrides::expect_human, records::Caller};
use crate::{
    metrics,
    store::{
        bypasses::{self as store, BypassRow, DeedRow, PassedRow},
        events::{About, publish},
        limits::bump,
    },
    words::optional,
};

/// Bypasses whose end is told at a time.
const MOST_TOLD: i64 = 100;

/// What is asked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewBypass {
    pub scope: BypassScope,
    pub scope_id: String,
    pub rule_ids: Vec<String>,
    pub duration_s: i64,
    pub reason: String,
    pub ticket: String,
}

/// What is done to a bypass.
#[derive(Debug, Clone)]
pub enum Deed {
    /// The second person says yes, with a note.
    Approve(String),
    /// The second person says no, and why.
    Reject(String),
    /// It is ended, and why.
    Revoke(String),
}

impl App {
    /// Asks for a bypass.
    ///
    /// # Errors
    /// `HUMAN_REQUIRED`, `BYPASS_OPEN`, `BYPASS_QUOTA`, `IDEMPOTENCY_MISMATCH`.
    pub async fn request_bypass(
        &self,
        keyed: Keyed,
        new: NewBypass,
    ) -> Result<pb::RequestBypassResponse, Fault> {
        let now = self.clock.now();
        self.db.write("request_bypass", move |tx| Box::pin(request(tx, keyed, new, now))).await
    }

    /// Decides on a bypass, or ends it; `answer` makes the response of the call.
    ///
    /// # Errors
    /// `HUMAN_REQUIRED`, `BYPASS_NOT_FOUND`, `BYPASS_TRANSITION_INVALID`, `SELF_APPROVAL`, `IDEMPOTENCY_MISMATCH`.
    pub async fn decide_bypass<M: Message + Default + 'static>(
        &self,
        keyed: Keyed,
        id: String,
        deed: Deed,
        answer: fn(pb::Bypass) -> M,
    ) -> Result<M, Fault> {
        let now = self.clock.now();
        self.db
            .write("decide_bypass", move |tx| {
                Box::pin(async move {
                    if let Some(first) = keyed.first(tx).await? {
                        return Ok(first);
                    }
                    let response = answer(decide(tx, &keyed.caller, &id, deed, now).await?);
                    keyed.keep(tx, &response, now).await?;
                    Ok(response)
                })
            })
            .await
    }

    /// Notes a step that a bypass lets pass.
    ///
    /// # Errors
    /// `BYPASS_NOT_FOUND`, `BYPASS_TRANSITION_INVALID`, `IDEMPOTENCY_MISMATCH`.
    pub async fn record_bypass_use(
        &self,
        caller: Caller,
        id: String,
        step: PassedRow,
    ) -> Result<pb::RecordBypassUseResponse, Fault> {
        let now = self.clock.now();
        let step = PassedRow { at: now, ..step };
        self.db.write("record_bypass_use", move |tx| Box::pin(pass(tx, caller, id, step))).await
    }

    /// Tells of bypasses that ended by their time; how many. They end without it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell_bypasses(&self) -> Result<usize, Fault> {
        let now = self.clock.now();
        self.db.write("tell_bypasses", move |tx| Box::pin(tell(tx, now))).await
    }
}

async fn request(
    tx: &mut Tx,
    keyed: Keyed,
    new: NewBypass,
    now: Micros,
) -> Result<pb::RequestBypassResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    expect_human(&keyed.caller)?;
    let tenant = keyed.caller.tenant_id.clone();
    // Requests of a tenant come one after the other, so that the number of a day is what it is.
    bump(tx, &format!("bypasses/{tenant}")).await?;
    let known = store::since(tx, &tenant, now.plus_millis(-DAY_MS)).await?;
    expect_room(&known, new.scope, &new.scope_id, now)?;
    let mut row = BypassRow {
        bypass_key: 0,
        bypass_id: new_id(),
        tenant_id: tenant,
        scope: new.scope.code(),
        scope_id: new.scope_id,
        rule_ids: new.rule_ids.join("\n"),
        duration_s: new.duration_s,
        ticket: new.ticket,
        decision: BypassDecision::Open.code(),
        requested_by: keyed.caller.actor_id.clone(),
        requested_at: now,
        expires_at: None,
        epoch: 0,
    };
    row.bypass_key = store::add(tx, &row, &new.reason).await?;
    let deeds = store::deeds(tx, row.bypass_key).await?;
    let shown = Some(present(&row, &deeds, now)?);
    let about = about(&row, None, BypassState::Requested, &new.reason);
    let data = pb::BypassRequested { bypass: shown.clone() };
    publish(tx, &keyed.caller, "BypassRequested", about, &data, now);
    let response = pb::RequestBypassResponse { bypass: shown };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn decide(
    tx: &mut Tx,
    caller: &Caller,
    id: &str,
    deed: Deed,
    now: Micros,
) -> Result<pb::Bypass, Fault> {
    expect_human(caller)?;
    // The epoch first: on PostgreSQL its row is the lock that waits for admissions under way.
    let epoch = match deed {
        Deed::Reject(_) => 0,
        Deed::Approve(_) | Deed::Revoke(_) => bump(tx, "epoch").await?,
    };
    let mut row = store::one(tx, &caller.tenant_id, id).await?.ok_or_else(not_found)?;
    let (before, by) = (row.subject()?, caller.actor_id.as_str());
    let (after, action, note) = match deed {
        Deed::Approve(note) => (before.approve(by, now)?, "APPROVED", note),
        Deed::Reject(reason) => (before.reject(by, now)?, "REJECTED", reason),
        Deed::Revoke(reason) => (before.revoke(now)?, "REVOKED", reason),
    };
    (row.decision, row.expires_at) = (after.decision.code(), after.expires_at);
    if action == "APPROVED" {
        row.epoch = epoch;
    }
    store::decide(tx, &row).await?;
    store::did(tx, row.bypass_key, (action, by, &note), now).await?;
    let deeds = store::deeds(tx, row.bypass_key).await?;
    let shown = present(&row, &deeds, now)?;
    let about = about(&row, Some(before.state(now)), after.state(now), &note);
    let bypass = Some(shown.clone());
    match action {
        "APPROVED" => publish(tx, caller, "BypassActivated", about, &pb::BypassActivated { bypass }, now),
        "REVOKED" => publish(tx, caller, "BypassEnded", about, &pb::BypassEnded { bypass }, now),
        _ => publish(tx, caller, "BypassRejected", about, &pb::BypassRejected { bypass }, now),
    }
    Ok(shown)
}

async fn pass(
    tx: &mut Tx,
    caller: Caller,
    id: String,
    step: PassedRow,
) -> Result<pb::RecordBypassUseResponse, Fault> {
    let row = store::one(tx, &caller.tenant_id, &id).await?.ok_or_else(not_found)?;
    let deeds = store::deeds(tx, row.bypass_key).await?;
    let response = pb::RecordBypassUseResponse { bypass: Some(present(&row, &deeds, step.at)?) };
    if let Some(known) = store::passed(tx, row.bypass_key, &step).await? {
        if known == step.rule_ids {
            return Ok(response);
        }
        return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the step was noted with other rules"));
    }
    row.subject()?.expect_state(BypassState::Active, step.at)?;
    store::pass(tx, row.bypass_key, &step).await?;
    let about = About {
        entity_type: "bypass",
        entity_id: row.bypass_id.clone(),
        run_id: step.run_id.clone(),
        attempt: step.attempt,
        step_index: Some(step.step_index),
        ..About::default()
    };
    let at = step.at;
    metrics::BYPASS_USES.increment(&[]);
    let data = pb::BypassUsed { r#use: Some(use_to(&row.bypass_id, step)) };
    publish(tx, &caller, "BypassUsed", about, &data, at);
    Ok(response)
}

async fn tell(tx: &mut Tx, now: Micros) -> Result<usize, Fault> {
    let rows = store::untold(tx, now, MOST_TOLD).await?;
    for row in &rows {
        let deeds = store::deeds(tx, row.bypass_key).await?;
        let bypass = Some(present(row, &deeds, now)?);
        let about = about(row, Some(BypassState::Active), BypassState::Expired, "");
        publish(tx, &Caller::mesh(&row.tenant_id), "BypassEnded", about, &pb::BypassEnded { bypass }, now);
        store::tell(tx, row.bypass_key).await?;
    }
    Ok(rows.len())
}

/// No such bypass.
#[must_use]
pub fn not_found() -> Fault {
    Fault::new(&reasons::BYPASS_NOT_FOUND, "no such bypass")
}

fn about(row: &BypassRow, before: Option<BypassState>, after: BypassState, reason: &str) -> About {
    let state = |state: BypassState| format!("{{\"epoch\":{},\"state\":\"{}\"}}", row.epoch, state.name());
    About {
        entity_type: "bypass",
        entity_id: row.bypass_id.clone(),
        reason: reason.to_owned(),
        before: before.map_or_else(String::new, state),
        after: state(after),
        ..About::default()
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// A bypass as it travels, with what was done to it.
///
/// # Errors
/// When a stored word is not known.
pub fn present(row: &BypassRow, deeds: &[DeedRow], now: Micros) -> Result<pb::Bypass, Fault> {
    let mine =
        |action: &str| deeds.iter().find(|d| d.bypass_key == row.bypass_key && d.action == action).cloned();
    let decided = mine("APPROVED").or_else(|| mine("REJECTED"));
    let revoked = mine("REVOKED");
    Ok(pb::Bypass {
        bypass_id: row.bypass_id.clone(),
        scope: row.scope,
        scope_id: row.scope_id.clone(),
        rule_ids: lines(&row.rule_ids),
        duration_s: row.duration_s,
        state: row.subject()?.state(now).code(),
        requested_by: row.requested_by.clone(),
        reason: mine("REQUESTED").map(|d| d.note).unwrap_or_default(),
        ticket: row.ticket.clone(),
        requested_at: Some(timestamp(row.requested_at)),
        decided_by: decided.as_ref().map(|d| d.actor_id.clone()).unwrap_or_default(),
        note: decided.as_ref().map(|d| d.note.clone()).unwrap_or_default(),
        decided_at: decided.map(|d| timestamp(d.at)),
        expires_at: optional(row.expires_at),
        epoch: row.epoch,
        revoked_by: revoked.as_ref().map(|d| d.actor_id.clone()).unwrap_or_default(),
        revoke_reason: revoked.as_ref().map(|d| d.note.clone()).unwrap_or_default(),
        revoked_at: revoked.map(|d| timestamp(d.at)),
        tenant_id: row.tenant_id.clone(),
    })
}

/// A use as it travels.
#[must_use]
pub fn use_to(bypass_id: &str, row: PassedRow) -> pb::BypassUse {
    pb::BypassUse {
        bypass_id: bypass_id.to_owned(),
        run_id: row.run_id,
        attempt: row.attempt,
        step_index: row.step_index,
        ask: row.ask,
        decision_id: row.decision_id,
        rule_ids: lines(&row.rule_ids),
        at: Some(timestamp(row.at)),
    }
}
