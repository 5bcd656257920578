//! Admissions as they were recorded, and whether they follow again from what they have read.

use std::collections::{BTreeSet, HashMap};

use contracts_common::common::v1::{Reason, Verdict};
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    admission::{Answer, Finding, RESOLVER_VERSION},
    breaker::{BreakerCause, BreakerTarget},
    finding::ShutBreaker,
    freeze::FreezeEffect,
    limit::Limit,
    resolve::{Reading, Readings, resolve},
    threshold::Used,
    words::Profile,
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::{Micros, PageToken};

use super::{Rpc, after_text, checks::Checks, query_of};
use crate::{
    app::signals::used,
    store::evidence::{self, EvidenceRow, ListedRow, Place},
    words::amounts_from,
};

/// Rows that are read at a time where a filter has to look into them.
const SCANNED: i64 = 500;
/// How often that is done for one page.
const SCANS: usize = 10;

/// A stored record can't be read.
pub(super) fn unreadable<E>(_: E) -> Fault {
    Fault::new(&mesh::INTERNAL, "a stored record can't be read")
}

/// What an admission has read.
pub(super) fn inputs_of(row: &EvidenceRow) -> Result<pb::ControlInputs, Fault> {
    pb::ControlInputs::decode(row.inputs.clone()).map_err(unreadable)
}

/// A recorded admission as it travels.
pub(super) fn evidence_to(
    run_id: &str,
    attempt: u32,
    row: EvidenceRow,
    inputs: pb::ControlInputs,
) -> Result<pb::EvaluationEvidence, Fault> {
    let step_index = u32::try_from(row.step_index).ok();
    let (admission, hold_id) = if step_index.is_some() {
        let answer = pb::AdmitStepResponse::decode(row.answer).map_err(unreadable)?;
        (answer.admission, answer.hold.map(|h| h.hold_id).unwrap_or_default())
    } else {
        (pb::AdmitRunResponse::decode(row.answer).map_err(unreadable)?.admission, String::new())
    };
    Ok(pb::EvaluationEvidence {
        evidence_id: row.evidence_id,
        run_id: run_id.to_owned(),
        attempt,
        step_index,
        ask: row.ask,
        decision_id: row.decision_id,
        limit_ids: limits_of(&inputs).map(|(id, _)| id).collect::<BTreeSet<_>>().into_iter().collect(),
        override_ids: admission.as_ref().map(|a| a.override_ids.clone()).unwrap_or_default(),
        bypass_id: inputs.bypass_id,
        admission,
        fence: row.fence,
        resolver_version: row.resolver_version,
        inputs: row.inputs,
        inputs_digest: row.inputs_digest,
        hold_id,
        evaluated_at: Some(timestamp(row.evaluated_at)),
        recomputation: 0,
    })
}

/// The limits that an admission has looked at, with their versions.
fn limits_of(inputs: &pb::ControlInputs) -> impl Iterator<Item = (String, u32)> {
    let budgets = inputs.envelopes.iter().map(|e| (e.limit_id.clone(), e.limit_version));
    let gates = inputs.gates.iter().map(|g| (g.limit_id.clone(), g.limit_version));
    let thresholds = inputs.thresholds.iter().map(|t| (t.limit_id.clone(), t.limit_version));
    budgets.chain(gates).chain(thresholds)
}

impl Rpc {
    pub(super) async fn evaluation_evidence(
        &self,
        tenant: &str,
        request: pb::ListEvaluationEvidenceRequest,
    ) -> Result<pb::ListEvaluationEvidenceResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("run_id", &request.run_id);
        checks.optional_id("limit_id", &request.limit_id);
        checks.optional_id("override_id", &request.override_id);
        checks.filter("verdicts", &request.verdicts, |code| Verdict::try_from(code).ok());
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare =
            pb::ListEvaluationEvidenceRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("evidence", tenant, &bare);
        let mut place = place_of(&after_text(&request.page_token, query)?)?;
        let most = usize::try_from(size.get()).unwrap_or(usize::MAX);
        let inside = !request.limit_id.is_empty() || !request.override_id.is_empty();
        let at_a_time = if inside { SCANNED } else { size.probe() };
        let mut found = Vec::new();
        let mut goes_on = true;
        for _ in 0..SCANS {
            let rows = self.listed(tenant, &request, place, at_a_time).await?;
            goes_on = rows.len() >= usize::try_from(at_a_time).unwrap_or(usize::MAX);
            for row in rows {
                if found.len() >= most {
                    goes_on = true;
                    break;
                }
                place = row.place;
                let inputs = inputs_of(&row.row)?;
                let shown = evidence_to(&row.run_id, row.attempt, row.row, inputs.clone())?;
                if matches(&request, &shown) {
                    found.push((inputs, shown));
                }
            }
            if !goes_on || found.len() >= most {
                break;
            }
        }
        let next_page_token = if goes_on {
            let (run, step, ask) = place;
            PageToken::encode(query, vec![format!("{run}/{step}/{ask}")])
        } else {
            String::new()
        };
        let evidence = self.recomputed(tenant, found).await?;
        Ok(pb::ListEvaluationEvidenceResponse { evidence, next_page_token })
    }

    async fn listed(
        &self,
        tenant: &str,
        request: &pb::ListEvaluationEvidenceRequest,
        place: Place,
        most: i64,
    ) -> Result<Vec<ListedRow>, Fault> {
        let run = Some(&request.run_id).filter(|id| !id.is_empty());
        Ok(evidence::listed(self.app.db.read(), tenant, run, &request.verdicts, place, most).await?)
    }

    /// Decides each admission once more.
    async fn recomputed(
        &self,
        tenant: &str,
        found: Vec<(pb::ControlInputs, pb::EvaluationEvidence)>,
    ) -> Result<Vec<pb::EvaluationEvidence>, Fault> {
        let ids: BTreeSet<String> =
            found.iter().flat_map(|(inputs, _)| limits_of(inputs)).map(|(id, _)| id).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let versions = evidence::versions(self.app.db.read(), tenant, &ids).await?;
        let known: HashMap<(String, u32), Limit> =
            versions.into_iter().map(|limit| ((limit.id.clone(), limit.version), limit)).collect();
        let rows = found.into_iter().map(|(inputs, shown)| {
            let recomputation = recompute(&inputs, &shown, &known);
            pb::EvaluationEvidence { recomputation: recomputation.into(), ..shown }
        });
        Ok(rows.collect())
    }
}

/// The place in a page token; none: before the first.
fn place_of(text: &str) -> Result<Place, Fault> {
    if text.is_empty() {
        return Ok((0, -2, -1));
    }
    let parts: Vec<i64> = text.split('/').filter_map(|part| part.parse().ok()).collect();
    match parts.as_slice() {
        [run, step, ask] => Ok((*run, *step, *ask)),
        _ => Err(Fault::new(&mesh::PAGE_TOKEN_MISMATCH, "the page token is malformed")),
    }
}

fn matches(request: &pb::ListEvaluationEvidenceRequest, shown: &pb::EvaluationEvidence) -> bool {
    let has = |ids: &[String], wanted: &String| wanted.is_empty() || ids.contains(wanted);
    has(&shown.limit_ids, &request.limit_id) && has(&shown.override_ids, &request.override_id)
}

fn recompute(
    inputs: &pb::ControlInputs,
    shown: &pb::EvaluationEvidence,
    known: &HashMap<(String, u32), Limit>,
) -> pb::Recomputation {
    if shown.resolver_version != RESOLVER_VERSION {
        return pb::Recomputation::Unspecified;
    }
    let answer = readings(inputs, shown.step_index.is_none()).and_then(|read| resolve(&read, known));
    match (answer, &shown.admission) {
        (Some(answer), Some(admission)) if equal(&answer, admission) => pb::Recomputation::Equal,
        (Some(_), _) => pb::Recomputation::Differs,
        (None, _) => pb::Recomputation::Unspecified,
    }
}

/// What the resolver wants of the inputs; none: a word in them is not known.
fn readings(inputs: &pb::ControlInputs, at_start: bool) -> Option<Readings> {
    let amounts = amounts_from(inputs.amounts.as_ref(), 1);
    let effects =
        inputs.freezes.iter().map(|f| Some((f.freeze_id.clone(), FreezeEffect::from_code(f.effect)?)));
    let budgets = inputs.envelopes.iter().map(|e| Reading {
        limit_id: e.limit_id.clone(),
        limit_version: e.limit_version,
        scope_id: e.scope_id.clone(),
        need: e.need,
        could: e.could,
        in_debt: e.in_debt,
        suspended: e.suspended,
        ..Reading::default()
    });
    let gates = inputs.gates.iter().map(|g| Reading {
        limit_id: g.limit_id.clone(),
        limit_version: g.limit_version,
        scope_id: g.scope_id.clone(),
        need: g.need,
        level: g.level,
        taken: g.taken,
        mine: g.mine,
        ..Reading::default()
    });
    let thresholds = inputs.thresholds.iter().map(|t| Reading {
        limit_id: t.limit_id.clone(),
        limit_version: t.limit_version,
        scope_id: t.scope_id.clone(),
        ..Reading::default()
    });
    let shut = inputs.breakers.iter().filter(|b| !b.probe).map(|b| {
        Some(ShutBreaker {
            id: b.breaker_id.clone(),
            target: BreakerTarget::from_code(b.target_type)?,
            target_id: b.target_id.clone(),
            cause: BreakerCause::from_code(b.cause)?,
            fallback_model: b.fallback_model.clone(),
            retry_after_ms: b.retry_after_ms,
        })
    });
    let overrides = inputs.overrides.iter().map(|o| ((o.limit_id.clone(), o.scope_id.clone()), o.value));
    Some(Readings {
        at_start,
        profile: Profile::from_code(inputs.profile)?,
        now: Micros(inputs.now_us),
        waited_ms: inputs.waited_ms,
        lapsed: inputs.lapsed,
        failed: inputs.failed,
        freezes: effects.collect::<Option<_>>()?,
        breakers: shut.collect::<Option<_>>()?,
        used: Used { repeats: i64::from(inputs.repeats), ..used(&inputs.totals.unwrap_or_default()) },
        estimate: amounts.of_step(),
        limits: gates.chain(thresholds).chain(budgets).collect(),
        overrides: overrides.collect(),
    })
}

fn equal(answer: &Answer, admission: &pb::Admission) -> bool {
    let same = |findings: &[Finding], reasons: &[Reason]| {
        let stated = reasons.iter().map(|r| (r.code.as_str(), r.source_id.as_str(), r.version, r.outcome));
        findings.iter().map(|f| (f.code, f.source_id.as_str(), f.version, f.verdict.code())).eq(stated)
    };
    (answer.verdict.code(), answer.directive.code()) == (admission.verdict, admission.directive)
        && same(&answer.reasons, &admission.reasons)
        && same(&answer.would_block, &admission.would_block)
        && same(&answer.warnings, &admission.warnings)
}
