//! Execution scopes are made, used, settled and taken back, each in one transaction.

use contracts_common::common::v1::ActorType;
use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    execution::{Risk, Use},
    reasons,
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{App, limits::Keyed};
use crate::{
    store::{
        events::{About, publish},
        scopes::{self as store, ScopeRow, UseRow},
    },
    words::optional,
};

impl App {
    /// Makes a scope from a row of which id, times and maker are not known yet; `ttl_s`: how long it lasts.
    ///
    /// # Errors
    /// `HUMAN_REQUIRED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn create_scope(
        &self,
        keyed: Keyed,
        new: ScopeRow,
        ttl_s: u32,
    ) -> Result<pb::CreateScopeResponse, Fault> {
        let now = self.clock.now();
        self.db.write("create_scope", move |tx| Box::pin(create(tx, keyed, new, ttl_s, now))).await
    }

    /// Begins a use.
    ///
    /// # Errors
    /// `SCOPE_NOT_FOUND`, `SCOPE_REVOKED`, `SCOPE_EXPIRED`, `SCOPE_EXHAUSTED`, `SCOPE_INCIDENT_MISMATCH`,
    /// `SCOPE_ACTION_MISMATCH`, `SCOPE_COST_EXCEEDED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn consume_scope(
        &self,
        keyed: Keyed,
        scope_id: String,
        of: Use,
    ) -> Result<pb::ConsumeScopeResponse, Fault> {
        let now = self.clock.now();
        self.db.write("consume_scope", move |tx| Box::pin(consume(tx, keyed, scope_id, of, now))).await
    }

    /// Books what a use has cost: how it ended stands beside it.
    ///
    /// # Errors
    /// `SCOPE_USE_NOT_FOUND`, `IDEMPOTENCY_MISMATCH`.
    pub async fn settle_scope_use(
        &self,
        keyed: Keyed,
        attempt_id: String,
        end: (i64, i32),
    ) -> Result<pb::SettleScopeUseResponse, Fault> {
        let now = self.clock.now();
        self.db.write("settle_scope_use", move |tx| Box::pin(settle(tx, keyed, attempt_id, end, now))).await
    }

    /// Takes a scope back.
    ///
    /// # Errors
    /// `SCOPE_NOT_FOUND`, `SCOPE_REVOKED`, `SCOPE_EXPIRED`, `SCOPE_EXHAUSTED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn revoke_scope(
        &self,
        keyed: Keyed,
        scope_id: String,
        reason: String,
    ) -> Result<pb::RevokeScopeResponse, Fault> {
        let now = self.clock.now();
        self.db.write("revoke_scope", move |tx| Box::pin(revoke(tx, keyed, scope_id, reason, now))).await
    }
}

async fn create(
    tx: &mut Tx,
    keyed: Keyed,
    new: ScopeRow,
    ttl_s: u32,
    now: Micros,
) -> Result<pb::CreateScopeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let person = keyed.caller.actor_type == i32::from(ActorType::Human);
    if Risk::from_code(new.risk).is_some_and(Risk::needs_person) && !person {
        let text = "only a person makes a scope for an action of this risk";
        return Err(Fault::new(&reasons::HUMAN_REQUIRED, text));
    }
    let row = ScopeRow {
        scope_id: new_id(),
        tenant_id: keyed.caller.tenant_id.clone(),
        created_by: keyed.caller.actor_id.clone(),
        created_at: now,
        expires_at: now.plus_millis(i64::from(ttl_s) * 1_000),
        ..new
    };
    store::add(tx, &row).await?;
    let scope = scope_to(&row, now)?;
    let about = about(&row, ("", "ACTIVE"), &row.intent);
    publish(tx, &keyed.caller, "ScopeCreated", about, &pb::ScopeCreated { scope: Some(scope.clone()) }, now);
    let response = pb::CreateScopeResponse { scope: Some(scope) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn consume(
    tx: &mut Tx,
    keyed: Keyed,
    scope_id: String,
    of: Use,
    now: Micros,
) -> Result<pb::ConsumeScopeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let mut row = store::one(tx, &keyed.caller.tenant_id, &scope_id).await?.ok_or_else(not_found)?;
    let mut scope = row.subject()?;
    scope.consume(&of, now)?;
    row.take(&scope);
    store::save(tx, &row).await?;
    let begun = UseRow {
        attempt_id: of.attempt_id,
        scope_key: row.scope_key,
        number: row.attempts,
        hold_id: new_id(),
        risk: of.risk.code(),
        estimate: of.estimate,
        consumed_at: now,
        actual: None,
        outcome: None,
        settled_at: None,
    };
    store::add_use(tx, &keyed.caller.tenant_id, &keyed.caller.actor_id, &begun).await?;
    let used = Some(use_to(&row.scope_id, begun));
    let about = about(&row, ("ACTIVE", scope.state(now).name()), "CONSUMED");
    publish(tx, &keyed.caller, "ScopeConsumed", about, &pb::ScopeConsumed { r#use: used.clone() }, now);
    let response = pb::ConsumeScopeResponse { r#use: used };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn settle(
    tx: &mut Tx,
    keyed: Keyed,
    attempt_id: String,
    (actual, outcome): (i64, i32),
    now: Micros,
) -> Result<pb::SettleScopeUseResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let tenant = keyed.caller.tenant_id.clone();
    let mut row = store::of_use(tx, &tenant, &attempt_id)
        .await?
        .ok_or_else(|| Fault::new(&reasons::SCOPE_USE_NOT_FOUND, "no scope was used under this attempt"))?;
    let mut scope = row.subject()?;
    let before = scope.state(now);
    scope.settle(&attempt_id, actual);
    row.take(&scope);
    store::save(tx, &row).await?;
    store::end_use(tx, &tenant, &attempt_id, (actual, outcome), now).await?;
    let data =
        pb::ScopeSettled { scope_id: row.scope_id.clone(), attempt_id, actual_microusd: actual, outcome };
    let about = about(&row, (before.name(), scope.state(now).name()), "SETTLED");
    publish(tx, &keyed.caller, "ScopeSettled", about, &data, now);
    let response = pb::SettleScopeUseResponse { scope: Some(scope_to(&row, now)?) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn revoke(
    tx: &mut Tx,
    keyed: Keyed,
    scope_id: String,
    reason: String,
    now: Micros,
) -> Result<pb::RevokeScopeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let mut row = store::one(tx, &keyed.caller.tenant_id, &scope_id).await?.ok_or_else(not_found)?;
    row.subject()?.revoke(now)?;
    row.revoked_at = Some(now);
    keyed.caller.actor_id.clone_into(&mut row.revoked_by);
    row.revoke_reason.clone_from(&reason);
    store::save(tx, &row).await?;
    let scope = scope_to(&row, now)?;
    let about = about(&row, ("ACTIVE", "REVOKED"), &reason);
    publish(tx, &keyed.caller, "ScopeRevoked", about, &pb::ScopeRevoked { scope: Some(scope.clone()) }, now);
    let response = pb::RevokeScopeResponse { scope: Some(scope) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

fn about(row: &ScopeRow, (before, after): (&str, &str), reason: &str) -> About {
    let state = |state: &str| {
        let known = !state.is_empty();
        if known { format!("{{\"attempts\":{},\"state\":\"{state}\"}}", row.attempts) } else { String::new() }
    };
    About {
        entity_type: "scope",
        entity_id: row.scope_id.clone(),
        reason: reason.to_owned(),
        before: state(before),
        after: state(after),
        ..About::default()
    }
}

/// No such scope.
#[must_use]
pub fn not_found() -> Fault {
    Fault::new(&reasons::SCOPE_NOT_FOUND, "no such scope")
}

/// A scope as it travels.
///
/// # Errors
/// When a stored word is not known.
pub fn scope_to(row: &ScopeRow, now: Micros) -> Result<pb::ExecutionScope, Fault> {
    let scope = row.subject()?;
    Ok(pb::ExecutionScope {
        scope_id: row.scope_id.clone(),
        incident_id: row.incident_id.clone(),
        action: row.action.clone(),
        intent: row.intent.clone(),
        kind: row.kind,
        fraction_permille: row.fraction_permille,
        risk: row.risk,
        agent_ids: row.agent_ids.lines().map(str::to_owned).collect(),
        max_cost_microusd: row.max_cost,
        max_attempts: row.max_attempts,
        state: scope.state(now).code(),
        attempts: row.attempts,
        settled_microusd: row.settled,
        held_microusd: scope.holding(now).map_or(0, |hold| hold.amount),
        created_by: row.created_by.clone(),
        created_at: Some(timestamp(row.created_at)),
        expires_at: Some(timestamp(row.expires_at)),
        revoked_by: row.revoked_by.clone(),
        revoked_at: optional(row.revoked_at),
        revoke_reason: row.revoke_reason.clone(),
    })
}

/// A use as it travels.
#[must_use]
pub fn use_to(scope_id: &str, row: UseRow) -> pb::ScopeUse {
    pb::ScopeUse {
        attempt_id: row.attempt_id,
        scope_id: scope_id.to_owned(),
        number: row.number,
        hold_id: row.hold_id,
        risk: row.risk,
        estimate_microusd: row.estimate,
        consumed_at: Some(timestamp(row.consumed_at)),
        outcome: row.outcome.unwrap_or(0),
        actual_microusd: row.actual,
        settled_at: optional(row.settled_at),
    }
}
