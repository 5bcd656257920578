//! Turns events of the domains into facts for the run projection.

use contracts_activity::v1::{
    ContractFact, DecisionFact, DraftFact, EvaluationOutcome, EvidenceFailureFact, Fact, IncidentFact,
    LimitFact, LimitStanding, LimitType, PolicyScope, SealFact, SettlementFact, StepFact, ThresholdSource,
    ThresholdUnit, ViolationFact, fact::Body,
};
use contracts_common::common::v1::{AuditStatus, ContractVerdict, EventEnvelope, Verdict};
use contracts_controls::v1::{
    self as controls, LimitEvaluated, LimitEvaluation, LimitOutcome, LimitScope, LimitSource, LimitUnit,
    RunSettled,
};
use contracts_incidents::v1::{IncidentLinked, IncidentVoided};
use contracts_logs::v1::{
    ContractReconciled, EvidenceFailed, RecordBody, RecordFact, RecordsAppended, TraceSealed,
};
use contracts_policies::v1::{DraftCreated, ViolationReported};
use prost::Message;
use runspine_rpc::micros;
use runspine_types::{Hasher, Micros, new_id_at};

/// The facts that an event holds; none for one that says nothing about a run.
#[must_use]
pub fn facts(event: &EventEnvelope) -> Vec<Fact> {
    let data = event.data.clone();
    match event.r#type.as_str() {
        "logs.RecordsAppended" => {
            RecordsAppended::decode(data).map(|d| records(event, &d)).unwrap_or_default()
        }
        "logs.TraceSealed" => TraceSealed::decode(data)
            .map(|d| {
                vec![one(event, d.attempt, Body::TraceSealed(SealFact { record_count: d.record_count }))]
            })
            .unwrap_or_default(),
        "logs.ContractReconciled" => {
            ContractReconciled::decode(data).map(|d| judged(event, &d)).unwrap_or_default()
        }
        "logs.EvidenceFailed" => EvidenceFailed::decode(data)
            .map(|d| {
                let class = d.kind().as_str_name().trim_start_matches("EVIDENCE_KIND_").to_owned();
                let fact = EvidenceFailureFact { failure_id: d.failure_id, evidence_class: class };
                vec![one(event, d.attempt, Body::EvidenceFailed(fact))]
            })
            .unwrap_or_default(),
        "controls.LimitEvaluated" => {
            LimitEvaluated::decode(data).map(|d| evaluated(event, d)).unwrap_or_default()
        }
        "controls.RunSettled" => RunSettled::decode(data).map(|d| settled(event, d)).unwrap_or_default(),
        "incidents.IncidentLinked" => IncidentLinked::decode(data)
            .map(|d| {
                let fact = IncidentFact { incident_id: d.incident_id };
                vec![one(event, d.attempt, Body::IncidentLinked(fact))]
            })
            .unwrap_or_default(),
        "incidents.IncidentVoided" => IncidentVoided::decode(data)
            .map(|d| {
                let fact = IncidentFact { incident_id: d.incident_id };
                vec![one(event, d.attempt, Body::IncidentVoided(fact))]
            })
            .unwrap_or_default(),
        "policies.ViolationReported" => {
            ViolationReported::decode(data).map(|d| violated(event, d)).unwrap_or_default()
        }
        "policies.DraftCreated" => DraftCreated::decode(data).map(|d| drafted(event, d)).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn one(event: &EventEnvelope, attempt: u32, body: Body) -> Fact {
    Fact {
        fact_id: event.id.clone(),
        run_id: event.run_id.clone(),
        attempt: if attempt == 0 { event.attempt } else { attempt },
        source: event.source.clone(),
        source_seq: event.sequence,
        occurred_at: event.time,
        body: Some(body),
    }
}

fn records(event: &EventEnvelope, appended: &RecordsAppended) -> Vec<Fact> {
    let fact = |f: &RecordFact| {
        let body = match f.body() {
            RecordBody::Decision => Body::DecisionRecorded(decided(f)),
            RecordBody::Step => Body::StepRecorded(stepped(f)),
            _ => return None,
        };
        Some(Fact {
            fact_id: fact_id(event, f.position),
            occurred_at: f.occurred_at,
            ..one(event, appended.attempt, body)
        })
    };
    appended.facts.iter().filter_map(fact).collect()
}

/// One event tells of many things: each is a fact of its own, with the same id whenever it is told.
fn fact_id(event: &EventEnvelope, position: u64) -> String {
    let digest =
        Hasher::new("runspine.fact.v1").sized(event.id.as_bytes()).fixed(&position.to_be_bytes()).finish();
    let random = std::array::from_fn(|place| digest.as_bytes()[place]);
    new_id_at(event.time.as_ref().map_or(Micros(0), micros), random)
}

fn decided(f: &RecordFact) -> DecisionFact {
    DecisionFact {
        decision_id: f.decision_id.clone(),
        step_index: f.step_index,
        verdict: f.verdict,
        effective_verdict: f.verdict,
        degraded: f.degraded,
        reason_code: String::new(),
        rule_id: String::new(),
        blocking: f.verdict() == Verdict::Deny,
    }
}

fn stepped(f: &RecordFact) -> StepFact {
    StepFact {
        position: f.position,
        step_index: f.step_index.unwrap_or(0),
        kind: f.kind,
        name: f.name.clone(),
        tool: String::new(),
        model: String::new(),
        outcome: f.outcome,
        retry_count: f.retry_count,
        input_tokens: f.input_tokens,
        output_tokens: f.output_tokens,
        cost_microusd: f.cost_microusd,
        duration_us: f.duration_us,
        unauthorized: f.unauthorized,
        despite_denial: f.unauthorized && !f.decision_id.is_empty(),
        gap: f.gap,
        parameters_digest: bytes::Bytes::new(),
    }
}

fn judged(event: &EventEnvelope, reconciled: &ContractReconciled) -> Vec<Fact> {
    let Some(key) = &reconciled.key else { return Vec::new() };
    if key.saga != "run" {
        return Vec::new();
    }
    let audit_status = match reconciled.verdict() {
        ContractVerdict::Complete => AuditStatus::Complete,
        ContractVerdict::Incomplete => AuditStatus::Incomplete,
        ContractVerdict::Stale => AuditStatus::Stale,
        ContractVerdict::NotDeclared => AuditStatus::NotDeclared,
        ContractVerdict::Unspecified => AuditStatus::Pending,
    };
    let body = Body::ContractReconciled(ContractFact { audit_status: audit_status.into() });
    vec![Fact { run_id: key.subject_id.clone(), ..one(event, key.attempt, body) }]
}

fn evaluated(event: &EventEnvelope, evaluated: LimitEvaluated) -> Vec<Fact> {
    let facts = (0..).zip(evaluated.evaluations).map(|(place, of)| {
        let body = Body::LimitEvaluated(LimitFact { standing: Some(standing(of)) });
        Fact { fact_id: fact_id(event, place), ..one(event, 0, body) }
    });
    facts.collect()
}

/// What controls says of a limit, in the words of runs. A word that is not known here is not guessed: the fact is refused.
fn standing(of: LimitEvaluation) -> LimitStanding {
    let compared = of.threshold_value.is_some();
    LimitStanding {
        policy_scope: scope_of(of.scope()).into(),
        limit_type: type_of(of.r#type()).into(),
        threshold_unit: unit_of(of.unit()).into(),
        threshold_source: source_of(of.source()).into(),
        evaluation_outcome: outcome_of(of.outcome()).into(),
        policy_id: of.limit_id.clone(),
        limit_id: of.limit_id,
        policy_name: of.limit_name,
        scope_id: of.scope_id,
        threshold_value: of.threshold_value,
        blocking: of.blocking,
        actual_value: compared.then_some(of.actual),
        proximity_permille: of.proximity_permille,
        rule_version: of.limit_version,
    }
}

fn scope_of(scope: LimitScope) -> PolicyScope {
    match scope {
        LimitScope::Unspecified => PolicyScope::Unspecified,
        LimitScope::Global => PolicyScope::Global,
        LimitScope::Tenant => PolicyScope::Tenant,
        LimitScope::Project => PolicyScope::Project,
        LimitScope::Agent => PolicyScope::Agent,
        LimitScope::ApiKey => PolicyScope::ApiKey,
        LimitScope::HumanActor => PolicyScope::HumanActor,
        LimitScope::Provider => PolicyScope::Provider,
        LimitScope::Model => PolicyScope::Model,
        LimitScope::Tool => PolicyScope::Tool,
        LimitScope::Run => PolicyScope::Run,
    }
}

fn type_of(of: controls::LimitType) -> LimitType {
    match of {
        controls::LimitType::Unspecified => LimitType::Unspecified,
        controls::LimitType::Cost => LimitType::Cost,
        controls::LimitType::Tokens => LimitType::Tokens,
        controls::LimitType::InputTokens => LimitType::InputTokens,
        controls::LimitType::OutputTokens => LimitType::OutputTokens,
        controls::LimitType::Time => LimitType::Time,
        controls::LimitType::Rate => LimitType::Rate,
        controls::LimitType::Steps => LimitType::Steps,
        controls::LimitType::Concurrency => LimitType::Concurrency,
    }
}

fn unit_of(unit: LimitUnit) -> ThresholdUnit {
    match unit {
        LimitUnit::Unspecified => ThresholdUnit::Unspecified,
        LimitUnit::CostMicrousd => ThresholdUnit::Microusd,
        LimitUnit::TokensInput | LimitUnit::TokensOutput | LimitUnit::TokensTotal => ThresholdUnit::Tokens,
        LimitUnit::TimeMs => ThresholdUnit::Ms,
        LimitUnit::Requests | LimitUnit::Runs | LimitUnit::Steps => ThresholdUnit::Count,
    }
}

fn source_of(source: LimitSource) -> ThresholdSource {
    match source {
        LimitSource::Unspecified => ThresholdSource::Unspecified,
        LimitSource::System => ThresholdSource::SystemDefault,
        LimitSource::Manual | LimitSource::Plan | LimitSource::Learned => ThresholdSource::TenantOverride,
    }
}

fn outcome_of(outcome: LimitOutcome) -> EvaluationOutcome {
    match outcome {
        LimitOutcome::Unspecified => EvaluationOutcome::Unspecified,
        LimitOutcome::Advisory => EvaluationOutcome::Advisory,
        LimitOutcome::Ok => EvaluationOutcome::Ok,
        LimitOutcome::NearThreshold => EvaluationOutcome::NearThreshold,
        LimitOutcome::Overridden => EvaluationOutcome::Overridden,
        LimitOutcome::Breach => EvaluationOutcome::Breach,
    }
}

fn settled(event: &EventEnvelope, settled: RunSettled) -> Vec<Fact> {
    let Some(settlement) = settled.settlement else { return Vec::new() };
    // Several envelopes may hold the same spending; the largest is what the run cost.
    let costs = settlement.usage.iter().filter(|u| u.unit() == LimitUnit::CostMicrousd).map(|u| u.usage);
    let fact =
        SettlementFact { settlement_id: settlement.settlement_id, cost_microusd: costs.max().unwrap_or(0) };
    vec![one(event, settlement.attempt, Body::RunSettled(fact))]
}

fn violated(event: &EventEnvelope, reported: ViolationReported) -> Vec<Fact> {
    let Some(violation) = reported.violation else { return Vec::new() };
    let fact = ViolationFact { violation_id: violation.violation_id, policy_id: violation.rule_id };
    vec![one(event, violation.attempt, Body::ViolationReported(fact))]
}

/// A run that policies was never asked about has a first attempt all the same.
fn drafted(event: &EventEnvelope, draft: DraftCreated) -> Vec<Fact> {
    let fact = DraftFact { proposal_id: draft.proposal_id };
    vec![one(event, event.attempt.max(1), Body::DraftCreated(fact))]
}

#[cfg(test)]
mod tests {
    use runspine_types::is_uuid;

    use super::*;

    #[test]
    fn a_decision_that_nobody_could_make_marks_its_run() {
        let degraded = |degraded| RecordFact {
            position: 1,
            body: RecordBody::Decision.into(),
            degraded,
            ..RecordFact::default()
        };
        assert!(decided(&degraded(true)).degraded && !decided(&degraded(false)).degraded);
    }

    #[test]
    fn a_draft_is_counted_by_the_event_that_tells_of_it() {
        let draft = DraftCreated { proposal_id: runspine_types::new_id(), ..DraftCreated::default() };
        let event = |attempt| EventEnvelope {
            id: runspine_types::new_id(),
            r#type: "policies.DraftCreated".to_owned(),
            run_id: runspine_types::new_id(),
            attempt,
            data: draft.encode_to_vec().into(),
            ..EventEnvelope::default()
        };
        for (told, counted) in [(2, 2), (0, 1)] {
            let event = event(told);
            let made = facts(&event);
            let fact = made.first().unwrap();
            assert_eq!((made.len(), &fact.fact_id, fact.attempt), (1, &event.id, counted));
            assert_eq!(
                fact.body,
                Some(Body::DraftCreated(DraftFact { proposal_id: draft.proposal_id.clone() }))
            );
        }
    }

    #[test]
    fn every_limit_of_an_evaluation_is_a_fact() {
        let evaluation = |limit_id: &str, threshold_value: Option<i64>| LimitEvaluation {
            limit_id: limit_id.to_owned(),
            limit_name: "tokens in".to_owned(),
            limit_version: 3,
            r#type: controls::LimitType::InputTokens.into(),
            scope: LimitScope::Agent.into(),
            scope_id: "agent-7".to_owned(),
            threshold_value,
            unit: LimitUnit::TokensInput.into(),
            source: LimitSource::System.into(),
            blocking: true,
            actual: 900,
            outcome: LimitOutcome::NearThreshold.into(),
            proximity_permille: Some(900),
        };
        let evaluations = vec![evaluation("a", Some(1_000)), evaluation("b", None)];
        let event = EventEnvelope {
            id: runspine_types::new_id(),
            r#type: "controls.LimitEvaluated".to_owned(),
            attempt: 2,
            sequence: 9,
            data: LimitEvaluated { evaluations, ..LimitEvaluated::default() }.encode_to_vec().into(),
            ..EventEnvelope::default()
        };
        let made = facts(&event);
        let at: Vec<_> = made.iter().map(|f| (f.attempt, f.source_seq)).collect();
        assert_eq!(at, [(2, 9), (2, 9)]);
        assert_ne!(made[0].fact_id, made[1].fact_id);
        let stands: Vec<LimitStanding> = made
            .into_iter()
            .map(|fact| match fact.body {
                Some(Body::LimitEvaluated(LimitFact { standing: Some(standing) })) => standing,
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = LimitStanding {
            limit_id: "a".to_owned(),
            policy_id: "a".to_owned(),
            policy_name: "tokens in".to_owned(),
            policy_scope: PolicyScope::Agent.into(),
            scope_id: "agent-7".to_owned(),
            limit_type: LimitType::InputTokens.into(),
            threshold_value: Some(1_000),
            threshold_unit: ThresholdUnit::Tokens.into(),
            threshold_source: ThresholdSource::SystemDefault.into(),
            blocking: true,
            actual_value: Some(900),
            evaluation_outcome: EvaluationOutcome::NearThreshold.into(),
            proximity_permille: Some(900),
            rule_version: 3,
        };
        assert_eq!(stands[0], expected);
        assert_eq!((stands[1].limit_id.as_str(), stands[1].actual_value), ("b", None));
    }

    #[test]
    fn every_record_of_an_event_is_a_fact_with_an_id_of_its_own() {
        let fact = |position| RecordFact { position, body: RecordBody::Step.into(), ..RecordFact::default() };
        let appended =
            RecordsAppended { attempt: 1, facts: vec![fact(1), fact(2)], ..RecordsAppended::default() };
        let event = EventEnvelope {
            id: runspine_types::new_id(),
            r#type: "logs.RecordsAppended".to_owned(),
            data: appended.encode_to_vec().into(),
            ..EventEnvelope::default()
        };
        let ids: Vec<String> = facts(&event).into_iter().map(|f| f.fact_id).collect();
        assert!(ids.len() == 2 && ids[0] != ids[1] && ids.iter().all(|id| is_uuid(id)));
        assert_eq!(ids, facts(&event).into_iter().map(|f| f.fact_id).collect::<Vec<_>>());
    }
}
