//! The kill switch: a freeze is one commit that raises the epoch, so that every admission either has seen it or carries
//! an older epoch.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    freeze::{Freeze, FreezeScope, FreezeState, expect_second_person},
    reasons,
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::{Micros, PLATFORM_TENANT, new_id};

use super::{App, limits::Keyed, records::Caller};
use crate::{
    store::{
        containment,
        events::{About, publish},
        freezes::{self, WishRow},
        limits::bump,
        rows::{FreezeRow, scope_of},
    },
    words::optional,
};

/// What to freeze.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewFreeze {
    pub scope: FreezeScope,
    pub scope_id: String,
    pub effect: i32,
    pub reason: i32,
    pub note: String,
    pub expires_at: Option<Micros>,
}

impl App {
    /// Freezes at once.
    ///
    /// # Errors
    /// `ALREADY_FROZEN`, `OPERATOR_REQUIRED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn freeze(&self, keyed: Keyed, new: NewFreeze) -> Result<pb::FreezeResponse, Fault> {
        let (now, watching) = (self.clock.now(), self.watchers.names());
        self.db.write("freeze", move |tx| Box::pin(freeze(tx, keyed, new, watching, now))).await
    }

    /// Lifts a freeze, or notes the wish where a second person has to approve.
    ///
    /// # Errors
    /// `FREEZE_NOT_FOUND`, `NOT_FROZEN`, `IDEMPOTENCY_MISMATCH`.
    pub async fn request_unfreeze(
        &self,
        keyed: Keyed,
        id: String,
        reason: String,
    ) -> Result<pb::RequestUnfreezeResponse, Fault> {
        let now = self.clock.now();
        self.db.write("request_unfreeze", move |tx| Box::pin(request(tx, keyed, id, reason, now))).await
    }

    /// The second person lifts a freeze.
    ///
    /// # Errors
    /// `FREEZE_NOT_FOUND`, `NOT_FROZEN`, `SELF_APPROVAL`, `SECOND_PERSON_REQUIRED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn approve_unfreeze(
        &self,
        keyed: Keyed,
        id: String,
        unfreeze_id: String,
    ) -> Result<pb::ApproveUnfreezeResponse, Fault> {
        let now = self.clock.now();
        self.db.write("approve_unfreeze", move |tx| Box::pin(approve(tx, keyed, id, unfreeze_id, now))).await
    }
}

async fn freeze(
    tx: &mut Tx,
    keyed: Keyed,
    new: NewFreeze,
    watching: Vec<String>,
    now: Micros,
) -> Result<pb::FreezeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let record = commit(tx, &keyed.caller, new, false, &watching, now).await?;
    let response = pb::FreezeResponse { freeze: Some(record) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

/// Freezes, and notes which runs and replicas have to answer. `auto`: a guardrail does it. The caller must not hold the
/// epoch shared in this transaction.
///
/// # Errors
/// `ALREADY_FROZEN`, `OPERATOR_REQUIRED`.
pub async fn commit(
    tx: &mut Tx,
    caller: &Caller,
    new: NewFreeze,
    auto: bool,
    watching: &[String],
    now: Micros,
) -> Result<pb::FreezeRecord, Fault> {
    let (tenant_id, scope_id) = owner(caller, &new)?;
    // The epoch first: on PostgreSQL its row is the lock that waits for admissions under way.
    let epoch = bump(tx, "epoch").await?;
    let mut row = FreezeRow {
        freeze_id: new_id(),
        tenant_id,
        scope: new.scope.code(),
        scope_id,
        effect: new.effect,
        reason: new.reason,
        note: new.note,
        actor_id: caller.actor_id.clone(),
        epoch,
        committed_at: now,
        expires_at: new.expires_at,
        runs_in_scope: 0,
        open: true,
        lifted_by: String::new(),
        lifted_at: None,
        lifted_epoch: 0,
        auto,
    };
    expect_none(tx, &row, now).await?;
    let runs = runs_in_scope(tx, &row.freeze()?, now).await?;
    row.runs_in_scope = i64::try_from(runs.len()).unwrap_or(i64::MAX);
    freezes::add(tx, &row).await?;
    containment::begin(tx, epoch, &runs, watching, now).await?;
    let record = record(&row, None, now)?;
    let data = pb::FreezeActivated { freeze: Some(record.clone()) };
    publish(tx, caller, "FreezeActivated", about(&row, "", "ACTIVE", &row.note), &data, now);
    Ok(record)
}

/// Whose freeze it is: a tenant freezes what is its own, an operator the mesh.
fn owner(caller: &Caller, new: &NewFreeze) -> Result<(String, String), Fault> {
    match new.scope {
        FreezeScope::Mesh if caller.tenant_id == PLATFORM_TENANT => Ok((String::new(), String::new())),
        FreezeScope::Mesh => {
            Err(Fault::new(&reasons::OPERATOR_REQUIRED, "only an operator freezes the whole mesh"))
        }
        FreezeScope::Tenant => Ok((caller.tenant_id.clone(), caller.tenant_id.clone())),
        _ => Ok((caller.tenant_id.clone(), new.scope_id.clone())),
    }
}

async fn expect_none(tx: &mut Tx, row: &FreezeRow, now: Micros) -> Result<(), Fault> {
    let Some(other) = freezes::open_for(tx, row).await? else { return Ok(()) };
    if other.freeze()?.state(now) == FreezeState::Active {
        let text = "this scope is frozen already";
        return Err(Fault::new(&reasons::ALREADY_FROZEN, text).with("freeze_id", other.freeze_id));
    }
    Ok(freezes::retire(tx, &other.freeze_id).await?)
}

/// Keys of the runs in scope that have a live lease.
async fn runs_in_scope(tx: &mut Tx, freeze: &Freeze, now: Micros) -> Result<Vec<i64>, Fault> {
    let tenant = (!freeze.tenant_id.is_empty()).then_some(freeze.tenant_id.as_str());
    let mut keys = Vec::new();
    for row in freezes::live_runs(tx, tenant, now).await? {
        if freeze.covers(&scope_of(&row.tenant_id, &row.run_id, &row.scope)?) {
            keys.push(row.run_key);
        }
    }
    Ok(keys)
}

async fn request(
    tx: &mut Tx,
    keyed: Keyed,
    id: String,
    reason: String,
    now: Micros,
) -> Result<pb::RequestUnfreezeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let row = known(tx, &keyed.caller, &id).await?;
    let freeze = row.freeze()?;
    freeze.expect_active(now)?;
    let second_person_required = freeze.needs_second_person();
    let record = if second_person_required {
        let (wish, new) = wish_for(tx, &keyed.caller, &id, reason, now).await?;
        let record = record(&row, Some(&wish), now)?;
        if new {
            let data = pb::UnfreezeRequested { freeze: Some(record.clone()) };
            let about = about(&row, "ACTIVE", "ACTIVE", &wish.reason);
            publish(tx, &keyed.caller, "UnfreezeRequested", about, &data, now);
        }
        record
    } else {
        lift(tx, &keyed.caller, row, &reason, now).await?
    };
    let response = pb::RequestUnfreezeResponse { freeze: Some(record), second_person_required };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

/// The wish that is open, or a new one, and whether it is new: the first one stays.
async fn wish_for(
    tx: &mut Tx,
    caller: &Caller,
    id: &str,
    reason: String,
    now: Micros,
) -> Result<(WishRow, bool), Fault> {
    if let Some(open) = freezes::wish(tx, id).await? {
        return Ok((open, false));
    }
    let wish = WishRow {
        unfreeze_id: new_id(),
        freeze_id: id.to_owned(),
        requested_by: caller.actor_id.clone(),
        reason,
        requested_at: now,
    };
    freezes::add_wish(tx, &wish).await?;
    Ok((wish, true))
}

async fn approve(
    tx: &mut Tx,
    keyed: Keyed,
    id: String,
    unfreeze_id: String,
    now: Micros,
) -> Result<pb::ApproveUnfreezeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let row = known(tx, &keyed.caller, &id).await?;
    row.freeze()?.expect_active(now)?;
    let wish = freezes::wish(tx, &id).await?.filter(|w| w.unfreeze_id == unfreeze_id);
    let wish = wish.ok_or_else(|| {
        Fault::new(&reasons::SECOND_PERSON_REQUIRED, "nobody has asked to lift this freeze under that id")
    })?;
    expect_second_person(&wish.requested_by, &keyed.caller.actor_id)?;
    let freeze = lift(tx, &keyed.caller, row, &wish.reason, now).await?;
    let response = pb::ApproveUnfreezeResponse { freeze: Some(freeze) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn known(tx: &mut Tx, caller: &Caller, id: &str) -> Result<FreezeRow, Fault> {
    let found = freezes::one(tx, &caller.tenant_id, id).await?;
    // A tenant sees a freeze of the mesh and can't touch it.
    let mine = |row: &FreezeRow| !row.tenant_id.is_empty() || caller.tenant_id == PLATFORM_TENANT;
    found.filter(mine).ok_or_else(not_found)
}

/// No such freeze.
#[must_use]
pub fn not_found() -> Fault {
    Fault::new(&reasons::FREEZE_NOT_FOUND, "no such freeze")
}

async fn lift(
    tx: &mut Tx,
    caller: &Caller,
    mut row: FreezeRow,
    reason: &str,
    now: Micros,
) -> Result<pb::FreezeRecord, Fault> {
    row.lifted_epoch = bump(tx, "epoch").await?;
    row.lifted_at = Some(now);
    row.open = false;
    caller.actor_id.clone_into(&mut row.lifted_by);
    freezes::lift(tx, &row, reason, now).await?;
    let record = record(&row, None, now)?;
    let data = pb::FreezeLifted { freeze: Some(record.clone()) };
    publish(tx, caller, "FreezeLifted", about(&row, "ACTIVE", "LIFTED", reason), &data, now);
    Ok(record)
}

/// What an event about a freeze says of it.
pub(super) fn about(row: &FreezeRow, before: &str, after: &str, reason: &str) -> About {
    let state = |state: &str| {
        if state.is_empty() {
            String::new()
        } else {
            format!("{{\"epoch\":{},\"state\":\"{state}\"}}", row.epoch)
        }
    };
    let of_run = row.scope == FreezeScope::Run.code();
    About {
        entity_type: "freeze",
        entity_id: row.freeze_id.clone(),
        run_id: if of_run { row.scope_id.clone() } else { String::new() },
        reason: reason.to_owned(),
        before: state(before),
        after: state(after),
        ..About::default()
    }
}

/// A freeze as it travels.
///
/// # Errors
/// When a stored word is not known.
pub fn record(row: &FreezeRow, wish: Option<&WishRow>, now: Micros) -> Result<pb::FreezeRecord, Fault> {
    let state = row.freeze()?.state(now);
    Ok(pb::FreezeRecord {
        freeze_id: row.freeze_id.clone(),
        tenant_id: row.tenant_id.clone(),
        scope: row.scope,
        scope_id: row.scope_id.clone(),
        effect: row.effect,
        reason_code: row.reason,
        note: row.note.clone(),
        actor_id: row.actor_id.clone(),
        state: state.code(),
        epoch: row.epoch,
        committed_at: Some(timestamp(row.committed_at)),
        expires_at: optional(row.expires_at),
        runs_in_scope: row.runs_in_scope,
        unfreeze: wish.map(|w| pb::UnfreezeRequest {
            unfreeze_id: w.unfreeze_id.clone(),
            requested_by: w.requested_by.clone(),
            reason: w.reason.clone(),
            requested_at: Some(timestamp(w.requested_at)),
        }),
        lifted_by: row.lifted_by.clone(),
        lifted_at: optional(row.lifted_at),
        lifted_epoch: row.lifted_epoch,
        auto: row.auto,
    })
}
