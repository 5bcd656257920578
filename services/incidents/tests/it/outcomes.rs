//! ReportRunOutcome: the decision table.

use contracts_incidents::v1::{self as pb, Disposition, IncidentStatus, ReportRunOutcomeRequest};
use futures::future::join_all;
use runspine_incidents_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::harness::{House, failed, failed_with, refused, succeeded};

fn prevented(request: ReportRunOutcomeRequest) -> ReportRunOutcomeRequest {
    let suppression = pb::Suppression {
        rule_id: "rule-1".into(),
        snapshot_digest: vec![7; 32].into(),
        prevention_id: "prevention-1".into(),
        signature: String::new(),
    };
    ReportRunOutcomeRequest { suppression: Some(suppression), ..request }
}

on_both_engines! {
    /// Row 1 and row 2: 64 identical calls are one incident, one occurrence, equal answers; another body is refused.
    async fn identical_calls_are_one(store: TestStore) {
        let house = House::over(store).await;
        let answers = join_all((0..64).map(|_| house.report(failed(1)))).await;
        let first = answers[0].clone().unwrap();
        assert_eq!(first.disposition, Disposition::Opened as i32);
        assert!(answers.into_iter().all(|answer| answer.unwrap() == first));
        assert_eq!(house.count("incidents").await, 1);
        assert_eq!(house.count("incident_occurrences").await, 1);
        refused(house.report(failed_with(1, "SKILL_ERROR")).await, &reasons::OUTCOME_CONFLICT);
        assert_eq!(house.count("incident_occurrences").await, 1);
    }

    /// A caller that goes away before or after the commit finds, when it repeats the call, exactly one occurrence.
    async fn a_lost_caller_converges(store: TestStore) {
        let house = std::sync::Arc::new(House::over(store).await);
        for number in 0..40_u64 {
            let lost = tokio::spawn({
                let house = house.clone();
                async move { house.report(failed(number)).await }
            });
            // Each time a little later: before its turn, within it, after it.
            for _ in 0..number * 8 {
                tokio::task::yield_now().await;
            }
            lost.abort();
            let answer = house.report(failed(number)).await.unwrap();
            let found = house.of_run(number).await;
            assert_eq!((found.outcomes.len(), found.occurrences.len()), (1, 1));
            assert_eq!(found.occurrences[0].occurrence_id, answer.occurrence_id);
        }
        assert_eq!(house.count("incident_occurrences").await, 40);
    }

    /// Row 3: a success leaves no incident.
    async fn a_success_leaves_no_incident(store: TestStore) {
        let house = House::over(store).await;
        let answer = house.report(succeeded(1, 1)).await.unwrap();
        assert_eq!(answer.disposition, Disposition::NotApplicable as i32);
        assert_eq!((answer.incident_id.as_str(), answer.severity, answer.cause_code.as_str()), ("", 0, ""));
        assert_eq!(house.report(succeeded(1, 1)).await.unwrap(), answer);
        assert_eq!(house.count("incidents").await, 0);
        assert_eq!(house.of_run(1).await.outcomes.len(), 1);
        assert_eq!(house.published().await, vec![]);
    }

    /// Row 3: a later success resolves what only the run's earlier attempts were about, and nothing else.
    async fn a_later_success_resolves_what_it_recovered(store: TestStore) {
        let house = House::over(store).await;
        let own = house.report(failed(1)).await.unwrap();
        let shared = house.report(failed_with(2, "SKILL_ERROR")).await.unwrap();
        house.report(failed_with(3, "SKILL_ERROR")).await.unwrap();
        house.report(succeeded(1, 2)).await.unwrap();
        house.report(succeeded(2, 2)).await.unwrap();
        let own = house.incident(&own.incident_id).await;
        assert_eq!(own.status, IncidentStatus::Resolved as i32);
        assert_eq!((own.resolution_method, own.resolution_type), (1, 3));
        let shared = house.incident(&shared.incident_id).await;
        assert_eq!((shared.status, shared.occurrence_count), (IncidentStatus::Open as i32, 2));
    }

    /// Row 4: a prevention stands in place of an incident, unless it must not.
    async fn a_prevention_suppresses_unless_forbidden(store: TestStore) {
        let house = House::over(store).await;
        let answer = house.report(prevented(failed_with(1, "POLICY_BLOCK"))).await.unwrap();
        assert_eq!(answer.disposition, Disposition::Suppressed as i32);
        assert_eq!((answer.prevention_id.as_str(), answer.incident_id.as_str()), ("prevention-1", ""));
        for code in ["AGENT_CRASH", "FROZEN"] {
            refused(house.report(prevented(failed_with(2, code))).await, &reasons::SUPPRESSION_FORBIDDEN);
        }
        assert_eq!(house.count("run_outcomes").await, 1, "a refusal writes nothing");
        // The spine then reports again without it.
        let answer = house.report(failed_with(2, "AGENT_CRASH")).await.unwrap();
        assert_eq!((answer.disposition, answer.severity), (Disposition::Opened as i32, 4));
    }

    /// Rows 5 and 7, and the columns that people read.
    async fn the_second_of_a_kind_joins(store: TestStore) {
        let house = House::over(store).await;
        let first = house.report(ReportRunOutcomeRequest {
            error_message: "AGENT_CRASH? ask kim@example.com".into(),
            step_index: Some(4),
            ..failed(1)
        }).await.unwrap();
        let second = house.report(failed(2)).await.unwrap();
        assert_eq!(second.disposition, Disposition::Joined as i32);
        assert_eq!(second.incident_id, first.incident_id);
        assert_ne!(second.occurrence_id, first.occurrence_id);
        let detail = house.get(&first.incident_id).await;
        let incident = detail.incident.clone().unwrap();
        assert_eq!((incident.seq, incident.version, incident.severity, incident.category), (1, 2, 3, 1));
        assert_eq!(incident.cause_code, "STEP_FAILURE");
        assert_eq!(incident.error_message, "AGENT_CRASH? ask [email]");
        assert_eq!((incident.source_run_id, incident.source_step_index), (run(1), Some(4)));
        assert_eq!((incident.occurrence_count, incident.cost_impact_microusd), (2, 200));
        assert_eq!(detail.run_ids, [run(1), run(2)]);
        assert_eq!((detail.event_count, detail.evidence_count), (2, 0));
        assert_eq!(house.published_kinds().await, ["IncidentOpened", "IncidentLinked", "IncidentLinked"]);
    }

    /// A run that a rule ended joins the active violation incident of that rule and run, and no other.
    async fn a_blocked_run_joins_its_violation(store: TestStore) {
        let house = House::over(store).await;
        let violation = house.fact(crate::harness::system_fact(1)).await.unwrap().incident_id;
        let as_violation =
            format!("UPDATE incidents SET trigger_type = 2, rule_id = 'rule-1', scope_id = '{}'", run(1));
        house.by_hand(&as_violation).await.unwrap();
        // However long ago the violation was.
        house.after(std::time::Duration::from_secs(3_600));
        let blocked = |number, rule: &str| ReportRunOutcomeRequest {
            status: 7,
            termination_reason: 2,
            violation_policy_id: rule.into(),
            ..failed(number)
        };
        let joined = house.report(blocked(1, "rule-1")).await.unwrap();
        assert_eq!((joined.disposition, joined.incident_id), (Disposition::Joined as i32, violation.clone()));
        for other in [blocked(2, "rule-1"), ReportRunOutcomeRequest { attempt: 2, ..blocked(1, "rule-10") }] {
            assert_ne!(house.report(other).await.unwrap().incident_id, violation);
        }
    }

    /// Every attempt maps to exactly one of nothing, an occurrence, a prevention, and its row says so.
    async fn each_attempt_has_exactly_one_end(store: TestStore) {
        let house = House::over(store).await;
        let codes = ["", "AGENT_CRASH", "BUDGET_EXCEEDED", "POLICY_BLOCK", "CANCELLED"];
        for number in 0..60_u64 {
            let code = codes[usize::try_from(number % 5).unwrap()];
            let request = match number % 7 {
                0 | 3 => succeeded(number, 1),
                1 | 4 => prevented(failed_with(number, code)),
                _ => failed_with(number, code),
            };
            if let Err(status) = house.report(request.clone()).await {
                refused::<()>(Err(status), &reasons::SUPPRESSION_FORBIDDEN);
                house.report(ReportRunOutcomeRequest { suppression: None, ..request }).await.unwrap();
            }
            let found = house.of_run(number).await;
            let outcome = &found.outcomes[0];
            let ends = [
                outcome.disposition == Disposition::NotApplicable as i32,
                !outcome.prevention_id.is_empty(),
                found.occurrences.len() == 1 && outcome.occurrence_id == found.occurrences[0].occurrence_id,
            ];
            assert_eq!(ends.iter().filter(|holds| **holds).count(), 1, "run {number}: {found:?}");
        }
    }
}
