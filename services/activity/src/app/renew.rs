//! RenewLease: hot, so everything that waits is renewed together.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use contracts_activity::v1::{RenewLeaseRequest, RenewLeaseResponse};
use contracts_common::common::v1::{RunPhase, RunStatus};
use prost::Message as _;
use runspine_activity_domain::{
    lease::{self as rules, Renewal},
    reasons,
};
use runspine_db::{AssertSqlSafe, Batch, BoxFuture, DbError, Row, Tx, args};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_types::{Clock, Micros, hash};

use crate::{
    app::{App, Who},
    rpc::present,
    store::{lease, placeholders, row::LeaseRow},
};

/// One renewal.
pub(crate) struct Item {
    tenant: String,
    request: RenewLeaseRequest,
    digest: Bytes,
}

/// Renews all leases of a group with two statements per tenant and one write.
pub(crate) struct Renewals {
    pub(crate) clock: std::sync::Arc<dyn Clock>,
}

pub(crate) async fn renew(app: &App, who: Who, request: RenewLeaseRequest) -> Outcome<RenewLeaseResponse> {
    let digest = hash(&request.encode_to_vec()).to_vec().into();
    app.renewals.submit(Item { tenant: who.tenant, request, digest }).await
}

/// A lease with where its attempt stands.
struct Found {
    run_id: String,
    attempt: u32,
    phase: i32,
    status: i32,
    lease: LeaseRow,
}

impl runspine_db::FromRow for Found {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            run_id: row.get("run_id")?,
            attempt: row.get("attempt")?,
            phase: row.get("phase")?,
            status: row.get("status")?,
            lease: LeaseRow::from_row(row)?,
        })
    }
}

type Known = HashMap<(String, String, u32), Found>;

impl Batch for Renewals {
    type Item = Item;
    type Out = RenewLeaseResponse;
    const NAME: &'static str = "RenewLease";

    fn apply<'t>(
        &'t self,
        tx: &'t mut Tx,
        items: &'t [Item],
    ) -> BoxFuture<'t, Result<Vec<Outcome<RenewLeaseResponse>>, DbError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut known = read(tx, items).await?;
            let mut changed = BTreeMap::new();
            let mut answers = Vec::with_capacity(items.len());
            for item in items {
                let key = (item.tenant.clone(), item.request.run_id.clone(), item.request.attempt);
                let answer = match known.get_mut(&key) {
                    Some(found) => one(found, item, now, &mut changed),
                    None => Err(missing()),
                };
                answers.push(answer);
            }
            lease::save(tx, changed.into_values().collect()).await?;
            Ok(answers)
        })
    }
}

fn missing() -> Fault {
    Fault::new(&reasons::RUN_NOT_FOUND, "there is no such run or attempt")
}

async fn read(tx: &mut Tx, items: &[Item]) -> Result<Known, DbError> {
    let mut tenants: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for item in items {
        tenants.entry(&item.tenant).or_default().push(&item.request.run_id);
    }
    let columns: Vec<String> = LeaseRow::COLUMNS.split(", ").map(|c| format!("l.{c}")).collect();
    let mut known = Known::new();
    for (tenant, mut runs) in tenants {
        runs.sort_unstable();
        runs.dedup();
        let sql = format!(
            "SELECT r.run_id, a.attempt, a.phase, a.status, {} FROM runs r JOIN run_attempts a ON a.run_key = r.run_key \
             JOIN leases l ON l.attempt_key = a.attempt_key WHERE r.tenant_id = $1 AND r.run_id IN ({}){}",
            columns.join(", "),
            placeholders(2, runs.len()),
            lease::for_update(tx)
        );
        let mut args = args![tenant];
        args.extend(runs.into_iter().map(runspine_db::Value::from));
        for found in tx.fetch_all::<Found>(AssertSqlSafe(sql), args).await? {
            known.insert((tenant.to_owned(), found.run_id.clone(), found.attempt), found);
        }
    }
    Ok(known)
}

fn one(
    found: &mut Found,
    item: &Item,
    now: Micros,
    changed: &mut BTreeMap<i64, LeaseRow>,
) -> Outcome<RenewLeaseResponse> {
    let request = &item.request;
    if found.lease.renewal_id == request.request_id {
        return repeated(&found.lease, item);
    }
    let phase = RunPhase::try_from(found.phase).unwrap_or_default();
    let status = RunStatus::try_from(found.status).unwrap_or_default();
    let held = found.lease.lease();
    let ttl_ms = rules::ttl(request.ttl_ms, held.ttl_ms)?;
    let fence = i64::try_from(request.fence).unwrap_or(i64::MAX);
    let renewal = rules::renew(&held, (phase, status), &request.holder, fence, ttl_ms, now)?;
    let suspended = renewal == Renewal::Suspended;
    match renewal {
        Renewal::Extended(lease) => found.lease.put(lease),
        Renewal::Regranted(lease) => {
            found.lease.put(lease);
            found.lease.watched = (phase, status) == (RunPhase::Executing, RunStatus::Running);
            found.lease.orphan_at = None;
        }
        Renewal::Suspended => {}
    }
    found.lease.last_seen_at = Some(now);
    found.lease.renewal_id.clone_from(&request.request_id);
    found.lease.renewal_digest = item.digest.clone();
    found.lease.renewal_suspended = suspended;
    lease::wake(&mut found.lease, now);
    changed.insert(found.lease.attempt_key, found.lease.clone());
    Ok(answer(&found.lease, suspended))
}

fn answer(lease: &LeaseRow, suspended: bool) -> RenewLeaseResponse {
    RenewLeaseResponse { lease: Some(present::lease(&lease.lease())), suspended }
}

/// The last renewal is answered as it was; nothing has moved the lease since, or its fence would tell.
fn repeated(lease: &LeaseRow, item: &Item) -> Outcome<RenewLeaseResponse> {
    if lease.renewal_digest != item.digest {
        return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the key was used with another request"));
    }
    Ok(answer(lease, lease.renewal_suspended))
}
