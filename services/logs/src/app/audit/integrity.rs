//! Grades the evidence of an attempt, and adds the grade to its chain.

use std::collections::{BTreeMap, BTreeSet};

use contracts_common::common::v1::{StepKind, StepOutcome};
use contracts_logs::v1::{self as pb, EvidenceKind, EvidenceResolution, evidence_item};
use prost::Message as _;
use runspine_db::{DbError, Tx};
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::{
    integrity::{Found, grade},
    reasons::TRACE_NOT_FOUND,
    trace::Body,
};
use runspine_types::{Micros, hash};

use super::{
    Audit,
    checkpoints::raw,
    evidence::{Capture, Captured, Content, keep},
    told::{Caused, Told},
};
use crate::{
    app::{announce::announce, read_traces::kept},
    store::{
        evidence::{self, AttemptKey, EvidenceRow},
        records, traces,
    },
};

/// Rows that are read at a time.
const PAGE: i64 = 1_000;

impl Audit {
    /// Grades the evidence of an attempt (0: the latest); with no evidence since the last grade, gives that one.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, TRACE_PURGED, or when anything of the attempt can't be read: what can't be read is not missing.
    pub async fn compute_integrity(
        &self,
        (tenant_id, run_id, attempt): (&str, &str, u32),
        caused: Caused,
    ) -> Result<pb::ComputeIntegrityResponse, Fault> {
        let missing = || Fault::new(&TRACE_NOT_FOUND, "there is no trace of this attempt");
        let main = traces::one(self.db.read(), tenant_id, run_id, attempt, 0).await?.ok_or_else(missing)?;
        let key =
            AttemptKey { tenant_id: tenant_id.to_owned(), run_id: run_id.to_owned(), attempt: main.attempt };
        kept(&main)?;
        let mut found = Found { sealed: main.sealed, ..Found::default() };
        self.read_records(main.trace_key, &mut found).await?;
        let evidence = self.read_evidence(&key, &mut found).await?;
        self.read_failures(&key, &mut found).await?;
        let now = self.clock.now();
        self.db
            .write("compute_integrity", move |tx| {
                Box::pin(async move { add(tx, key, evidence, &found, &caused, now).await })
            })
            .await
    }

    async fn read_records(&self, trace_key: i64, found: &mut Found) -> Result<(), DbError> {
        let mut kinds: BTreeMap<u32, StepKind> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = records::page(self.db.read(), trace_key, after, PAGE).await?;
            for row in &page {
                after = row.position;
                let body = Body::of_number(row.body);
                let counts = matches!(body, Some(Body::Decision | Body::Step));
                found.records += u64::from(counts);
                let Some(step) = row.step_index.filter(|_| body == Some(Body::Step)) else { continue };
                found.steps.insert(step);
                // The last try of a step that was not tried again is its final one.
                if row.status != StepOutcome::Retried as i32 {
                    kinds.insert(step, StepKind::try_from(row.kind).unwrap_or_default());
                }
            }
            if i64::try_from(page.len()).is_ok_and(|n| n < PAGE) {
                break;
            }
        }
        let of = |kind| kinds.iter().filter(move |(_, k)| **k == kind).map(|(step, _)| *step);
        found.model_steps = of(StepKind::LlmCall).collect();
        found.data_steps = of(StepKind::DataAccess).collect();
        // An attempt whose trace says nothing did nothing.
        found.executed = found.records > 0;
        Ok(())
    }

    /// Gives how many pieces there are beside grades: what the next grade is keyed by.
    async fn read_evidence(&self, key: &AttemptKey, found: &mut Found) -> Result<u64, Fault> {
        let (read, of) = (self.db.read(), (key.tenant_id.as_str(), key.run_id.as_str()));
        let (mut count, mut after) = (0, None);
        loop {
            let page = evidence::list(read, of, Some(key.attempt), &[], after, PAGE).await?;
            for row in &page {
                after = Some((row.attempt, row.seq));
                let item = pb::EvidenceItem::decode(row.item.clone()).map_err(unreadable)?;
                count += u64::from(take(found, &item));
            }
            if i64::try_from(page.len()).is_ok_and(|n| n < PAGE) {
                return Ok(count);
            }
        }
    }

    async fn read_failures(&self, key: &AttemptKey, found: &mut Found) -> Result<(), DbError> {
        let of = (key.tenant_id.as_str(), key.run_id.as_str());
        let rows = evidence::list_failures(self.db.read(), of, Some(key.attempt), &[]).await?;
        let settled: BTreeSet<&str> =
            rows.iter().filter(|row| row.superseded).map(|row| row.failure_id.as_str()).collect();
        for row in rows.iter().filter(|row| !settled.contains(row.failure_id.as_str())) {
            found.failures += 1;
            found.permanent += u32::from(row.resolution == EvidenceResolution::Permanent as i32);
        }
        Ok(())
    }
}

/// Counts one piece; false for a grade.
fn take(found: &mut Found, item: &pb::EvidenceItem) -> bool {
    use evidence_item::Body::{Activity, Environment, Integrity, PolicyDecision, Provider, Retrieval};
    let of_step = match &item.body {
        Some(Environment(_)) => {
            found.environment += 1;
            return true;
        }
        Some(Integrity(_)) => return false,
        Some(Activity(_)) => &mut found.activity,
        Some(Provider(_)) => &mut found.provider,
        Some(PolicyDecision(_)) => &mut found.decided,
        Some(Retrieval(_)) => &mut found.retrieved,
        None => return true,
    };
    of_step.extend(item.step_index);
    true
}

/// Adds the grade to the chain, with its event and its ledger entry.
async fn add(
    tx: &mut Tx,
    key: AttemptKey,
    count: u64,
    found: &Found,
    caused: &Caused,
    now: Micros,
) -> Result<pb::ComputeIntegrityResponse, Fault> {
    let request_id = format!("integrity/{}/{}/{count}", key.run_id, key.attempt);
    if let Some(first) = evidence::by_request(tx, &key.tenant_id, &request_id).await? {
        return again(first);
    }
    let integrity = grade(found);
    let body = evidence_item::Body::Integrity(integrity.clone());
    let context = pb::EvidenceContext {
        run_id: key.run_id.clone(),
        attempt: key.attempt,
        source: pb::EvidenceSource::Reconciler.into(),
        policy_snapshot_id: String::new(),
        actor: caused.actor.clone(),
    };
    let capture = Capture {
        key: key.clone(),
        step_index: None,
        kind: EvidenceKind::Integrity,
        context: Some(context),
        request_digest: hash(request_id.as_bytes()),
        request_id,
        captured_at: None,
        content: Content::Item(Box::new(body.clone())),
    };
    let Captured::Kept { evidence_id, seq, link } = keep(tx, capture, body, now).await? else {
        return Err(Fault::new(&mesh::INTERNAL, "a grade was not kept"));
    };
    let data = pb::EvidenceGraded {
        run_id: key.run_id.clone(),
        attempt: key.attempt,
        evidence_id: evidence_id.clone(),
        grade: integrity.grade,
        score_ppm: integrity.score_ppm,
    };
    let told = Told {
        name: "EvidenceGraded",
        data: &data,
        tenant_id: &key.tenant_id,
        run_id: &key.run_id,
        attempt: key.attempt,
        step_index: None,
        entity: ("evidence", evidence_id.clone()),
        reason: integrity.grade().as_str_name(),
    };
    announce(tx, told, Some(link), caused, now).await?;
    Ok(pb::ComputeIntegrityResponse {
        attempt: key.attempt,
        evidence_id,
        seq,
        link: raw(link),
        integrity: Some(integrity),
    })
}

/// The grade that stands.
fn again(row: EvidenceRow) -> Result<pb::ComputeIntegrityResponse, Fault> {
    let item = pb::EvidenceItem::decode(row.item).map_err(unreadable)?;
    let integrity = match item.body {
        Some(evidence_item::Body::Integrity(integrity)) => Some(integrity),
        _ => None,
    };
    Ok(pb::ComputeIntegrityResponse {
        attempt: row.attempt,
        evidence_id: item.evidence_id,
        seq: row.seq,
        link: raw(row.link),
        integrity,
    })
}

fn unreadable(error: prost::DecodeError) -> Fault {
    Fault::new(&mesh::INTERNAL, "a piece of evidence can't be read").caused_by(error)
}
