//! ReportIncident: facts that are not outcomes of runs.

use contracts_incidents::v1::{self as pb, Disposition, Evidence, ReportIncidentRequest, Severity};
use futures::future::join_all;
use runspine_errors::mesh;
use runspine_incidents_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::harness::{House, refused, system_fact};

fn limit_fact(number: u64, run_number: u64) -> ReportIncidentRequest {
    ReportIncidentRequest {
        source: 1,
        trigger_type: 3,
        category: 2,
        cause_code: "BUDGET_EXCEEDED".into(),
        severity: 1,
        title: "a budget is spent".into(),
        scope_id: format!("limit-1/{}", run(run_number)),
        run_id: run(run_number),
        attempt: 1,
        fact_id: format!("breach-{number}"),
        evidence: vec![Evidence { kind: 1, value: "12 of 10 USD".into(), ..Evidence::default() }],
        ..ReportIncidentRequest::default()
    }
}

on_both_engines! {
    /// A fact is one occurrence however often it is told; the trigger's own severity wins over a lower one.
    async fn a_fact_is_told_once(store: TestStore) {
        let house = House::over(store).await;
        let answers = join_all((0..16).map(|_| house.fact(limit_fact(1, 1)))).await;
        let first = answers[0].clone().unwrap();
        assert!(first.created && first.severity == Severity::Critical as i32);
        assert!(answers.into_iter().all(|answer| answer.unwrap() == first));
        assert_eq!(house.count("incident_evidence").await, 1);
        assert_eq!(house.get(&first.incident_id).await.evidence_count, 1);
        let other = ReportIncidentRequest { title: "another".into(), ..limit_fact(1, 1) };
        refused(house.fact(other).await, &mesh::IDEMPOTENCY_MISMATCH);
    }

    /// One incident per limit and run; a second breach of it joins.
    async fn the_scope_bounds_the_group(store: TestStore) {
        let house = House::over(store).await;
        let first = house.fact(limit_fact(1, 1)).await.unwrap();
        let joined = house.fact(limit_fact(2, 1)).await.unwrap();
        assert_eq!((joined.disposition, joined.created), (Disposition::Joined as i32, false));
        assert_eq!(joined.incident_id, first.incident_id);
        assert_ne!(house.fact(limit_fact(3, 2)).await.unwrap().incident_id, first.incident_id);
    }

    /// A freeze can't be suppressed, a signal can.
    async fn suppression_follows_the_trigger(store: TestStore) {
        let house = House::over(store).await;
        let suppression = Some(pb::Suppression {
            rule_id: "r".into(),
            snapshot_digest: vec![1; 32].into(),
            prevention_id: "p".into(),
            signature: String::new(),
        });
        let freeze = ReportIncidentRequest {
            source: 2, trigger_type: 4, category: 6, suppression: suppression.clone(), ..system_fact(1)
        };
        refused(house.fact(freeze).await, &reasons::SUPPRESSION_FORBIDDEN);
        let signal = ReportIncidentRequest {
            source: 4, trigger_type: 16, category: 1, suppression, ..system_fact(2)
        };
        let answer = house.fact(signal).await.unwrap();
        assert_eq!((answer.disposition, answer.created), (Disposition::Suppressed as i32, false));
        assert_eq!(house.count("incidents").await, 0);
    }

    /// Everything wrong is told at once; sources have their triggers, anomalies their least severity.
    async fn bad_facts_are_refused(store: TestStore) {
        let house = House::over(store).await;
        let empty = refused(house.fact(ReportIncidentRequest::default()).await, &mesh::FIELD_INVALID);
        assert_eq!(runspine_rpc::details(&empty).fields.len(), 7);
        let wrong_source = ReportIncidentRequest { source: 1, ..system_fact(1) };
        refused(house.fact(wrong_source).await, &mesh::FIELD_INVALID);
        let mild = ReportIncidentRequest { source: 3, trigger_type: 13, category: 7, severity: 2, ..system_fact(1) };
        refused(house.fact(mild).await, &mesh::FIELD_INVALID);
        refused(house.fact(ReportIncidentRequest { severity: 9, ..system_fact(1) }).await, &mesh::ENUM_UNKNOWN);
        refused(house.fact(ReportIncidentRequest { severity: 0, ..system_fact(1) }).await, &mesh::ENUM_UNSPECIFIED);
        let evidence = vec![Evidence { kind: 1, ..Evidence::default() }; 21];
        refused(house.fact(ReportIncidentRequest { evidence, ..system_fact(1) }).await, &mesh::FIELD_INVALID);
        assert_eq!(house.count("incident_reports").await, 0);
    }
}
