//! Limits are made, changed, taken out of force and put back: each with its governance event, before and after.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts_controls::v1 as pb;
use prost::Message;
use runspine_controls_domain::{
    guardrail::Guardrail,
    limit::{EACH, Limit, LimitChange, LimitSpec, MESH},
    reasons,
    words::{Category, LimitSource, LimitState, PeriodKind, Scope},
};
use runspine_db::{KeptAnswer, Replayed, Tx};
use runspine_errors::Fault;
use runspine_types::{Digest, Micros, PLATFORM_TENANT, new_id};
use serde_json::Value;

use super::{App, defect, records::Caller};
use crate::{
    store::{
        caches::Caches,
        desk::Desk,
        events::{About, publish},
        limits,
        locks::Locking,
    },
    words::limit_to,
};

/// Limits that a tenant may have.
const MOST_LIMITS: i64 = 1_000;

/// A keyed request: who, which operation, by which key, with what body.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// Who asks.
    pub caller: Caller,
    /// `package.Service/Method`.
    pub operation: &'static str,
    /// The request's id.
    pub key: String,
    /// Digest of the body.
    pub digest: Digest,
}

impl Keyed {
    /// The first answer, when there was one.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn first<M: Message + Default>(&self, tx: &mut Tx) -> Result<Option<M>, Fault> {
        match tx.replay(&self.caller.tenant_id, self.operation, &self.key, self.digest).await? {
            Replayed::Fresh => Ok(None),
            Replayed::Replay(bytes) => {
                M::decode(bytes).map(Some).map_err(|_| defect("a kept answer can't be read"))
            }
        }
    }

    /// Keeps the answer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&self, tx: &mut Tx, answer: &impl Message, at: Micros) -> Result<(), Fault> {
        let kept = KeptAnswer {
            tenant: self.caller.tenant_id.clone(),
            operation: self.operation.to_owned(),
            key: self.key.clone(),
            request_digest: self.digest,
            answer: Bytes::from(answer.encode_to_vec()),
            at,
        };
        Ok(tx.keep_answer(kept).await?)
    }
}

/// What is done to a limit.
#[derive(Debug, Clone)]
pub enum LimitAct {
    /// New values.
    Change(Box<LimitChange>),
    /// Another state.
    Turn(LimitState),
}

impl App {
    /// Makes a limit.
    ///
    /// # Errors
    /// `LIMIT_INVALID`, `LIMIT_EXISTS`, `LIMIT_QUOTA`, `IDEMPOTENCY_MISMATCH`.
    pub async fn create_limit(
        &self,
        keyed: Keyed,
        spec: LimitSpec,
    ) -> Result<pb::CreateLimitResponse, Fault> {
        let now = self.clock.now();
        self.db.write("create_limit", move |tx| Box::pin(create(tx, keyed, spec, now))).await
    }

    /// Changes a limit or its state, and answers with it.
    ///
    /// # Errors
    /// `LIMIT_NOT_FOUND`, `VERSION_CONFLICT`, `LIMIT_INVALID`, `LIMIT_DISABLED`, `OPERATOR_REQUIRED`,
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn change_limit(
        &self,
        keyed: Keyed,
        id: String,
        seen: u32,
        act: LimitAct,
        reason: String,
    ) -> Result<pb::UpdateLimitResponse, Fault> {
        let now = self.clock.now();
        self.db.write("change_limit", move |tx| Box::pin(change(tx, keyed, id, seen, act, reason, now))).await
    }
}

async fn create(
    tx: &mut Tx,
    keyed: Keyed,
    spec: LimitSpec,
    now: Micros,
) -> Result<pb::CreateLimitResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    spec.validate()?;
    let tenant = keyed.caller.tenant_id.clone();
    if spec.scope == Scope::Global && tenant != PLATFORM_TENANT {
        let text = "only an operator limits the whole mesh";
        return Err(Fault::new(&reasons::OPERATOR_REQUIRED, text));
    }
    expect_room(tx, &tenant, &spec.name).await?;
    let limit = Limit {
        key: 0,
        id: new_id(),
        spec,
        source: LimitSource::Manual,
        state: LimitState::Active,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let limit = limits::add(tx, &tenant, limit, &keyed.caller.actor_id).await?;
    begin_account(tx, &tenant, &limit, now).await?;
    created(tx, &keyed.caller, &limit, now);
    let response = pb::CreateLimitResponse { limit: Some(limit_to(&limit)) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

/// Tells of a limit that was made.
pub(super) fn created(tx: &mut Tx, caller: &Caller, limit: &Limit, now: Micros) {
    let data = pb::LimitCreated { limit: Some(limit_to(limit)) };
    publish(tx, caller, "LimitCreated", about(None, limit, ""), &data, now);
}

async fn expect_room(tx: &mut Tx, tenant: &str, name: &str) -> Result<(), Fault> {
    let (count, named) = limits::count(tx, tenant, name).await?;
    // A guardrail has its name before it has its row.
    let reserved = Guardrail::named(name).map(|guardrail| guardrail.limit_id(tenant));
    if let Some(id) = named.or(reserved) {
        return Err(Fault::new(&reasons::LIMIT_EXISTS, "a limit with this name exists").with("limit_id", id));
    }
    if count >= MOST_LIMITS {
        let text = format!("a tenant has at most {MOST_LIMITS} limits");
        return Err(Fault::new(&reasons::LIMIT_QUOTA, &text).quota(format!("tenants/{tenant}"), text));
    }
    Ok(())
}

/// The envelope and first period of a limit that names one scope id.
async fn begin_account(tx: &mut Tx, tenant: &str, limit: &Limit, now: Micros) -> Result<(), Fault> {
    if limit.spec.category != Category::Budget {
        return Ok(());
    }
    let scope_id = match limit.spec.scope {
        Scope::Global => MESH.to_owned(),
        Scope::Tenant => tenant.to_owned(),
        _ if limit.spec.scope_id == EACH => return Ok(()),
        _ => limit.spec.scope_id.clone(),
    };
    // Nothing of an open transaction may stay in the memory of the batch.
    let caches = Caches::default();
    let mut desk = Desk::open(tx, &caches, &[tenant], Locking::AsNeeded, now).await?;
    let key = desk.envelope_for(limit, tenant, &scope_id, now).await?;
    desk.with_book(|book| book.current(key, now)).await?;
    Ok(desk.flush(now).await?)
}

async fn change(
    tx: &mut Tx,
    keyed: Keyed,
    id: String,
    seen: u32,
    act: LimitAct,
    reason: String,
    now: Micros,
) -> Result<pb::UpdateLimitResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let tenant = keyed.caller.tenant_id.clone();
    let before = limits::one(tx, &tenant, &id).await?;
    let before =
        before.ok_or_else(|| Fault::new(&reasons::LIMIT_NOT_FOUND, "no such limit").with("limit_id", &id))?;
    if matches!(before.source, LimitSource::Plan | LimitSource::System) && tenant != PLATFORM_TENANT {
        let text = "the limit comes from the plan or the mesh: only an operator changes it";
        return Err(Fault::new(&reasons::OPERATOR_REQUIRED, text));
    }
    let after = match &act {
        LimitAct::Change(change) => before.change(seen, change, now)?,
        LimitAct::Turn(state) => before.turn(seen, *state, now)?,
    };
    if !limits::change(tx, &tenant, &after, &reason, &keyed.caller.actor_id).await? {
        return Err(Fault::new(&reasons::VERSION_CONFLICT, "the limit was changed in the meantime"));
    }
    let raised = after.spec.max_value > before.spec.max_value;
    settle_up(tx, &tenant, after.key, raised, now).await?;
    publish_change(tx, &keyed.caller, (&before, &after), &reason, now);
    let response = pb::UpdateLimitResponse { limit: Some(limit_to(&after)) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

/// What a changed limit makes available pays debt first; breaches of a raised one are over where use is below its warning
/// now.
pub(super) async fn settle_up(
    tx: &mut Tx,
    tenant: &str,
    limit_key: i64,
    raised: bool,
    now: Micros,
) -> Result<(), Fault> {
    let owing = limits::indebted(tx, limit_key).await?;
    let breached = if raised { limits::breached(tx, limit_key).await? } else { Vec::new() };
    if owing.is_empty() && breached.is_empty() {
        return Ok(());
    }
    let caches = Caches::default();
    let mut desk = Desk::open(tx, &caches, &[tenant], Locking::AsNeeded, now).await?;
    let envelopes: Vec<i64> = owing.iter().chain(&breached).map(|period| period.0).collect();
    desk.load_envelopes(&envelopes).await?;
    for period in owing {
        desk.with_book(|book| book.limit_changed(period)).await?;
    }
    for period in breached {
        if desk.with_book(|book| book.below_warning(period)).await? {
            desk.recover_period(period, "BELOW_WARNING", now).await?;
        }
    }
    Ok(desk.flush(now).await?)
}

/// Tells of a limit that says something else, or has another state.
pub(super) fn publish_change(
    tx: &mut Tx,
    caller: &Caller,
    (before, after): (&Limit, &Limit),
    reason: &str,
    now: Micros,
) {
    let about = || about(Some(before), after, reason);
    let limit = Some(limit_to(after));
    let turned = before.state != after.state;
    if !turned || before.spec != after.spec {
        let data = pb::LimitUpdated { before: Some(limit_to(before)), after: limit.clone() };
        publish(tx, caller, "LimitUpdated", about(), &data, now);
    }
    match after.state {
        _ if !turned => {}
        LimitState::Disabled => {
            publish(tx, caller, "LimitDisabled", about(), &pb::LimitDisabled { limit }, now);
        }
        LimitState::Active => {
            publish(tx, caller, "LimitEnabled", about(), &pb::LimitEnabled { limit }, now);
        }
    }
}

fn about(before: Option<&Limit>, after: &Limit, reason: &str) -> About {
    About {
        entity_type: "limit",
        entity_id: after.id.clone(),
        reason: reason.to_owned(),
        before: before.map_or_else(String::new, json),
        after: json(after),
        ..About::default()
    }
}

/// A limit as canonical JSON: keys in order, no spaces.
fn json(limit: &Limit) -> String {
    let spec = &limit.spec;
    let params = spec.params.pairs().into_iter().map(|(key, value)| (key.to_owned(), value.into()));
    let params = Value::Object(params.collect());
    let fields: BTreeMap<&str, Value> = BTreeMap::from([
        ("ambiguous_charge", spec.ambiguous_charge.name().into()),
        ("block_permille", spec.block_permille.into()),
        ("category", spec.category.name().into()),
        ("consequence", spec.consequence.name().into()),
        ("description", spec.description.as_str().into()),
        ("enforcement", spec.enforcement.name().into()),
        ("limit_id", limit.id.as_str().into()),
        ("max_value", spec.max_value.into()),
        ("max_wait_s", spec.max_wait_s.into()),
        ("name", spec.name.as_str().into()),
        ("overage", spec.overage.name().into()),
        ("overdraft_limit", spec.overdraft_limit.into()),
        ("burst", spec.burst.into()),
        (
            "degrade",
            spec.degrade.obligations().into_iter().map(|(n, a)| format!("{n}({})", a.join(","))).collect(),
        ),
        ("params", params),
        ("period", spec.period.map_or("", PeriodKind::name).into()),
        ("rollover", spec.rollover.into()),
        ("rollover_max_permille", spec.rollover_max_permille.into()),
        ("scope", spec.scope.name().into()),
        ("scope_id", spec.scope_id.as_str().into()),
        ("source", limit.source.name().into()),
        ("state", limit.state.name().into()),
        ("unit", spec.unit.name().into()),
        ("utc_offset_minutes", spec.utc_offset_minutes.into()),
        ("version", limit.version.into()),
        ("warn_permille", spec.warn_permille.into()),
        ("window_s", spec.window_s.into()),
    ]);
    serde_json::to_string(&fields).unwrap_or_default()
}
