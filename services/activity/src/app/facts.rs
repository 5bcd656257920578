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
        facts::{self as store, Place},
        placeholders, projection,
    },
};

pub(crate) async fn apply(app: &App, who: Who, request: ApplyFactsRequest) -> Outcome<ApplyFactsResponse> {
    let clock = app.clock.clone();
    let write = app.db.write("ApplyFacts", move |tx| {
        Box::pin(async move {
            let now = clock.now();
            let (mut touched, mut receipts) = (BTreeSet::new(), Vec::with_capacity(request.facts.len()));
            for fact in &request.facts {
                let (result, reason) = match one(tx, &who.tenant, fact, now).await? {
                    Applied::Counts(place) => {
                        touched.insert(place.run_key);
                        (FactResult::Applied, "")
                    }
                    Applied::Seen => (FactResult::Duplicate, ""),
                    Applied::Parked => (FactResult::Parked, ""),
                    Applied::Refused(reason) => (FactResult::Refused, reason),
                };
                let (fact_id, reason) = (fact.fact_id.clone(), reason.to_owned());
                receipts.push(FactReceipt { fact_id, result: result as i32, reason });
            }
            for run_key in touched {
                projection::refresh(tx, run_key, &who.tenant).await?;
            }
            Ok(ApplyFactsResponse { receipts })
        })
    });
    write.await
}

/// What became of a fact.
enum Applied {
    Counts(Place),
    Seen,
    Parked,
    Refused(&'static str),
}

async fn one(tx: &mut Tx, tenant: &str, fact: &Fact, now: Micros) -> Outcome<Applied> {
    if !is_uuid(&fact.fact_id) || !is_uuid(&fact.run_id) || fact.attempt == 0 {
        return Ok(Applied::Refused("FIELD_INVALID"));
    }
    let row = match rules::row(fact) {
        Ok(row) => row,
        Err(reason) => return Ok(Applied::Refused(reason)),
    };
    let Some(place) = store::place(tx, tenant, fact).await? else {
        store::park(tx, tenant, fact, now).await?;
        return Ok(Applied::Parked);
    };
    if !store::mark(tx, tenant, &fact.fact_id, now).await? {
        return Ok(Applied::Seen);
    }
    count(tx, place, fact, &row).await?;
    Ok(Applied::Counts(place))
}

async fn count(tx: &mut Tx, place: Place, fact: &Fact, row: &Row) -> Outcome<()> {
    match row {
        Row::Step(step) => store::step(tx, place, fact, step).await?,
        Row::Usage(usage) => store::correct(tx, place, fact, usage).await?,
        Row::Member(member) => store::join(tx, place, fact, member).await?,
        Row::Nothing => {}
    }
    Ok(())
}

/// Counts the facts that waited for an attempt. The caller refreshes the projection.
pub(crate) async fn unpark(tx: &mut Tx, who: &Who, run_id: &str, attempt: u32, now: Micros) -> Outcome<()> {
    for bytes in store::unpark(tx, &who.tenant, run_id, attempt).await? {
        let fact = Fact::decode(bytes)
            .map_err(|error| Fault::new(&mesh::INTERNAL, "a parked fact can't be read").caused_by(error))?;
        one(tx, &who.tenant, &fact, now).await?;
    }
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
            let mut answer = RebuildProjectionResponse::default();
            for run_key in runs(tx, &who.tenant, &request.run_ids).await? {
                let (rebuilt, differing) = projection::refresh(tx, run_key, &who.tenant).await?;
                answer.rebuilt += rebuilt;
                answer.differing += differing;
            }
            Ok(answer)
        })
    })
    .await
}

async fn runs(tx: &mut Tx, tenant: &str, run_ids: &[String]) -> Outcome<Vec<i64>> {
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
