//! ApplyFacts and RebuildProjection.

use std::collections::BTreeSet;

use contracts_activity::v1::{
    ApplyFactsRequest, ApplyFactsResponse, Fact, FactReceipt, FactResult, RebuildProjectionRequest,
    RebuildProjectionResponse,
};
use prost::Message as _;
use runspine_activity_domain::facts::{self as rules, Row};
use runspine_db::{AssertSqlSafe, Tx, args};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_types::{Micros, is_uuid};

use crate::{
    app::{App, Keyed, Who},
    store::{
        facts::{self as store, Gathered},
        placeholders, projection,
    },
};

pub(crate) async fn apply(app: &App, who: Who, request: ApplyFactsRequest) -> Outcome<ApplyFactsResponse> {
    let clock = app.clock.clone();
    let write = app.db.write("ApplyFacts", move |tx| {
        Box::pin(async move {
            let (receipts, touched) = count(tx, &who.tenant, &request.facts, clock.now()).await?;
            projection::refresh(tx, &who.tenant, &touched).await?;
            Ok(ApplyFactsResponse { receipts })
        })
    });
    write.await
}

/// Counts facts, and gives each its receipt, and the runs whose projection has to be refreshed.
async fn count(
    tx: &mut Tx,
    tenant: &str,
    facts: &[Fact],
    now: Micros,
) -> Outcome<(Vec<FactReceipt>, BTreeSet<i64>)> {
    let rows: Vec<Result<Row, &'static str>> = facts.iter().map(checked).collect();
    let good = || facts.iter().zip(&rows).filter(|(_, row)| row.is_ok()).map(|(fact, _)| fact);
    let places = store::places(tx, tenant, good()).await?;
    let place = |fact: &Fact| places.get(&(fact.run_id.clone(), fact.attempt)).copied();
    let mut fresh = store::mark(tx, tenant, good().filter(|fact| place(fact).is_some()), now).await?;
    let (mut gathered, mut touched) = (Gathered::default(), BTreeSet::new());
    let mut receipts = Vec::with_capacity(facts.len());
    for (fact, row) in facts.iter().zip(&rows) {
        let (result, reason) = match (row, place(fact)) {
            (Err(reason), _) => (FactResult::Refused, *reason),
            (Ok(_), None) => {
                store::park(tx, tenant, fact, now).await?;
                (FactResult::Parked, "")
            }
            (Ok(row), Some(place)) if fresh.remove(&fact.fact_id) => {
                gathered.push(place, fact, row);
                touched.insert(place.run_key);
                (FactResult::Applied, "")
            }
            (Ok(_), Some(_)) => (FactResult::Duplicate, ""),
        };
        let (fact_id, reason) = (fact.fact_id.clone(), reason.to_owned());
        receipts.push(FactReceipt { fact_id, result: result.into(), reason });
    }
    gathered.write(tx).await?;
    Ok((receipts, touched))
}

fn checked(fact: &Fact) -> Result<Row, &'static str> {
    if !is_uuid(&fact.fact_id) || !is_uuid(&fact.run_id) || fact.attempt == 0 {
        return Err("FIELD_INVALID");
    }
    rules::row(fact)
}

/// Counts the facts that waited for an attempt. The caller refreshes the projection.
pub(crate) async fn unpark(tx: &mut Tx, who: &Who, run_id: &str, attempt: u32, now: Micros) -> Outcome<()> {
    let waited = store::unpark(tx, &who.tenant, run_id, attempt).await?;
    let facts: Result<Vec<Fact>, _> = waited.into_iter().map(Fact::decode).collect();
    let facts =
        facts.map_err(|error| Fault::new(&mesh::INTERNAL, "a parked fact can't be read").caused_by(error))?;
    count(tx, &who.tenant, &facts, now).await?;
    Ok(())
}

pub(crate) async fn rebuild(
    app: &App,
    who: Who,
    request: RebuildProjectionRequest,
) -> Outcome<RebuildProjectionResponse> {
    let call = Keyed::new("RebuildProjection", request.request_id.clone(), &request);
    let tenant = who.tenant.clone();
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move {
            let runs = runs(tx, &who.tenant, &request.run_ids).await?;
            let (rebuilt, differing) = projection::refresh(tx, &who.tenant, &runs).await?;
            Ok(RebuildProjectionResponse { rebuilt, differing })
        })
    })
    .await
}

async fn runs(tx: &mut Tx, tenant: &str, run_ids: &[String]) -> Outcome<BTreeSet<i64>> {
    let mut args = args![tenant];
    let scope = if run_ids.is_empty() {
        String::new()
    } else {
        args.extend(run_ids.iter().map(runspine_db::Value::from));
        format!(" AND run_id IN ({})", placeholders(2, run_ids.len()))
    };
    let sql = format!("SELECT run_key FROM runs WHERE tenant_id = $1{scope} ORDER BY run_key");
    let rows: Vec<(i64,)> = tx.fetch_all(AssertSqlSafe(sql), args).await?;
    Ok(rows.into_iter().map(|(key,)| key).collect())
}
