//! Dispatch records: kept once by their id.

use std::collections::{BTreeMap, HashMap};

use runspine_db::{Batch, BoxFuture, DbError, Tx};
use runspine_errors::{Fault, mesh};
use runspine_types::Digest;

use super::Audit;
use crate::store::dispatch::{self, NewDispatch};

/// The batch of all calls that wait: one insert, and a look at what was there only when something was.
pub struct AppendDispatches;

type Name = (String, String);

impl Batch for AppendDispatches {
    type Item = Vec<NewDispatch>;
    type Out = ();
    const NAME: &'static str = "append_dispatches";

    fn apply<'t>(
        &'t self,
        tx: &'t mut Tx,
        items: &'t [Vec<NewDispatch>],
    ) -> BoxFuture<'t, Result<Vec<Result<(), Fault>>, DbError>> {
        Box::pin(async move {
            let mut known: HashMap<Name, Digest> = HashMap::new();
            let mut fresh = Vec::new();
            let answers: Vec<Result<(), Fault>> =
                items.iter().map(|records| take(&mut known, &mut fresh, records)).collect();
            if let [records] = items {
                let stored = stored(tx, records).await?;
                if let Some(record) = records.iter().find(|r| differs(&stored, r)) {
                    return Ok(vec![Err(mismatch(record))]);
                }
                dispatch::insert(tx, &fresh).await?;
                return Ok(answers);
            }
            let inserted = dispatch::insert(tx, &fresh).await?;
            if usize::try_from(inserted).is_ok_and(|n| n == fresh.len()) {
                return Ok(answers);
            }
            // Some were there before this group. Whatever is refused must have changed nothing: each call is tried
            // alone when one of them says something else than what is there.
            let stored = stored(tx, &fresh).await?;
            if items.iter().flatten().any(|record| differs(&stored, record)) {
                return Err(DbError::Unavailable("a dispatch id was used with another content"));
            }
            Ok(answers)
        })
    }
}

impl Audit {
    /// Keeps records: all or none.
    ///
    /// # Errors
    /// IDEMPOTENCY_MISMATCH, or when the store can't be written.
    pub async fn append_dispatches(&self, records: Vec<NewDispatch>) -> Result<(), Fault> {
        self.dispatches.submit(records).await
    }
}

/// Takes the records of one call that are new to the group.
fn take(
    known: &mut HashMap<Name, Digest>,
    fresh: &mut Vec<NewDispatch>,
    records: &[NewDispatch],
) -> Result<(), Fault> {
    if let Some(record) = records.iter().find(|r| known.get(&name(r)).is_some_and(|d| *d != r.digest)) {
        return Err(mismatch(record));
    }
    for record in records {
        if known.insert(name(record), record.digest).is_none() {
            fresh.push(record.clone());
        }
    }
    Ok(())
}

async fn stored(tx: &mut Tx, records: &[NewDispatch]) -> Result<HashMap<Name, Digest>, DbError> {
    let mut by_tenant: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        by_tenant.entry(&record.tenant_id).or_default().push(&record.dispatch_id);
    }
    let mut found = HashMap::new();
    for (tenant, ids) in by_tenant {
        let digests = dispatch::digests(tx, tenant, ids.into_iter()).await?;
        found.extend(digests.into_iter().map(|(id, digest)| ((tenant.to_owned(), id), digest)));
    }
    Ok(found)
}

fn differs(stored: &HashMap<Name, Digest>, record: &NewDispatch) -> bool {
    stored.get(&name(record)).is_some_and(|digest| *digest != record.digest)
}

fn name(record: &NewDispatch) -> Name {
    (record.tenant_id.clone(), record.dispatch_id.clone())
}

fn mismatch(record: &NewDispatch) -> Fault {
    Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "the dispatch id was used for another dispatch")
        .with("dispatch_id", &record.dispatch_id)
}
