//! A bucket is filled by order.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    limit::{EACH, Limit, MESH},
    rate::Bucket,
    reasons,
    words::{Category, Scope},
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{App, limits::Keyed};
use crate::store::{
    caches::Caches,
    desk::Desk,
    events::{About, publish},
    limits,
    locks::Locking,
    rates::{self, RateView},
    rows::EnvelopeRow,
};

impl App {
    /// Fills the bucket of a limit for one scope id.
    ///
    /// # Errors
    /// `LIMIT_NOT_FOUND`, `LIMIT_INVALID`, `IDEMPOTENCY_MISMATCH`.
    pub async fn reset_bucket(
        &self,
        keyed: Keyed,
        limit_id: String,
        scope_id: String,
        reason: String,
    ) -> Result<pb::ResetBucketResponse, Fault> {
        let now = self.clock.now();
        self.db
            .write("reset_bucket", move |tx| Box::pin(reset(tx, keyed, limit_id, scope_id, reason, now)))
            .await
    }
}

async fn reset(
    tx: &mut Tx,
    keyed: Keyed,
    limit_id: String,
    scope_id: String,
    reason: String,
    now: Micros,
) -> Result<pb::ResetBucketResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let tenant = keyed.caller.tenant_id.clone();
    let limit = limits::one(tx, &tenant, &limit_id).await?;
    let limit = limit.filter(|l| l.spec.category == Category::Rate).ok_or_else(|| {
        Fault::new(&reasons::LIMIT_NOT_FOUND, "no such limit of a rate").with("limit_id", limit_id)
    })?;
    let scope_id = scope_of(&limit, &tenant, scope_id)?;
    let caches = Caches::default();
    let mut desk = Desk::open(tx, &caches, &[&tenant], Locking::AsNeeded, now).await?;
    let key = desk.envelope_for(&limit, &tenant, &scope_id, now).await?;
    let (held, envelope) = desk.envelope(key).ok_or_else(|| super::defect("an envelope was not made"))?;
    let (limit, envelope) = (Limit::clone(&held), EnvelopeRow::clone(&envelope));
    let full = Bucket::full(&limit, now);
    rates::fill(tx, key, full).await?;
    let view = RateView { envelope, limit, bucket: Some(full), slots: 0 };
    let rate = rate_to(&view, now);
    let entity_id = format!("{}/{scope_id}", view.limit.id);
    let about = About { entity_type: "bucket", entity_id, reason, ..About::default() };
    publish(tx, &keyed.caller, "BucketReset", about, &pb::BucketReset { rate: Some(rate.clone()) }, now);
    let response = pb::ResetBucketResponse { rate: Some(rate) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

/// The scope id that is meant: the limit's own where it has one.
fn scope_of(limit: &Limit, tenant: &str, stated: String) -> Result<String, Fault> {
    let own = match limit.spec.scope {
        Scope::Global => MESH,
        Scope::Tenant => tenant,
        _ => limit.spec.scope_id.as_str(),
    };
    let each = own == EACH;
    if (each && !stated.is_empty()) || (!each && (stated.is_empty() || stated == own)) {
        return Ok(if each { stated } else { own.to_owned() });
    }
    let text = if each {
        "the limit has a bucket for each scope id: name one"
    } else {
        "the limit has another scope id"
    };
    Err(Fault::new(&reasons::SCOPE_INVALID, text).field("scope_id", "SCOPE_INVALID", text))
}

/// A bucket, or the slots of a limit, as they travel.
#[must_use]
pub fn rate_to(view: &RateView, now: Micros) -> pb::RateStatus {
    let spec = &view.limit.spec;
    let is_bucket = spec.category == Category::Rate;
    let bucket = view.bucket_at(now);
    // One token more than the whole ones that are in it now.
    let next = bucket.take(&view.limit, bucket.tokens().saturating_add(1), now).err();
    let next_token_at = match next {
        Some(runspine_controls_domain::rate::Short::Wait(ms)) if is_bucket => {
            Some(timestamp(now.plus_millis(ms)))
        }
        _ => None,
    };
    pb::RateStatus {
        limit_id: view.limit.id.clone(),
        category: spec.category.code(),
        scope: spec.scope.code(),
        scope_id: view.envelope.scope_id.clone(),
        unit: spec.unit.code(),
        level: if is_bucket { bucket.tokens() } else { 0 },
        capacity: if is_bucket { spec.burst } else { spec.max_value },
        slots_used: view.slots,
        next_token_at,
    }
}
