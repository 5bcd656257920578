//! Violations: one incident for each rule that a run violated, never without evidence.

use std::time::Duration;

use contracts_incidents::v1::{self as pb, EvidenceKind, IncidentStatus, LinkType, Severity};
use futures::future::join_all;
use runspine_errors::mesh;
use runspine_incidents_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use tonic::Status;

use crate::harness::{House, failed, refused, request_id};

/// Violation `number` of `rule` in run 1.
fn violation(number: u64, rule: &str) -> pb::OpenViolationIncidentRequest {
    pb::OpenViolationIncidentRequest {
        run_id: run(1),
        attempt: 1,
        step_index: Some(3),
        violation_id: test_id(6, number),
        rule_id: rule.to_owned(),
        rule_code: format!("CODE_{number}"),
        kind: "PII".to_owned(),
        severity: Severity::Medium.into(),
        value: "7".to_owned(),
        threshold: "0".to_owned(),
        reason: "names of jane@example.com".to_owned(),
        evidence: vec![piece("7 names"), piece("the third message")],
        agent_id: "agent-7".to_owned(),
        ..Default::default()
    }
}

fn piece(value: &str) -> pb::Evidence {
    pb::Evidence { kind: EvidenceKind::Value.into(), value: value.to_owned(), ..Default::default() }
}

impl House {
    async fn open(
        &self,
        r: pb::OpenViolationIncidentRequest,
    ) -> Result<pb::OpenViolationIncidentResponse, Status> {
        let request = self.ask("IncidentReportService/OpenViolationIncident", r);
        self.reports.clone().open_violation_incident(request).await.map(tonic::Response::into_inner)
    }

    async fn close(&self, incident: &pb::Incident) {
        let message = pb::CloseIncidentRequest {
            incident_id: incident.incident_id.clone(),
            expected_version: incident.version,
            reason: pb::CloseReason::AcceptedRisk.into(),
            note: String::new(),
            request_id: request_id(77),
        };
        let request = self.ask("IncidentService/CloseIncident", message);
        self.incidents.clone().close_incident(request).await.unwrap();
    }
}

on_both_engines! {
    /// Incident, link and evidence are one commit, and the same fact again is the same answer.
    async fn an_incident_comes_with_its_evidence(store: TestStore) {
        let house = House::over(store).await;
        let answers = join_all((0..8).map(|_| house.open(violation(1, "r1")))).await;
        let first = answers[0].clone().unwrap();
        assert!(!first.existing && first.evidence_ids.len() == 2 && first.severity() == Severity::Medium);
        assert!(answers.into_iter().all(|a| a.unwrap() == first), "whoever is first, all are told the same");
        let found = house.get(&first.incident_id).await;
        let incident = found.incident.unwrap();
        assert_eq!((incident.source_run_id, incident.rule_id.as_str(), found.evidence_count), (run(1), "r1", 2));
        assert!(!incident.description.contains("jane@example.com"), "{}", incident.description);
        let link = &found.links[0];
        assert_eq!((link.link_type(), link.target_id.clone()), (LinkType::Violation, test_id(6, 1)));
        let kinds: Vec<_> = house.history(&first.incident_id).await.iter().map(|e| e.kind()).collect();
        use pb::IncidentEventKind as K;
        assert_eq!(kinds, [K::Opened, K::Linked, K::EvidenceCaptured]);
        let other = pb::OpenViolationIncidentRequest { value: "8".into(), ..violation(1, "r1") };
        refused(house.open(other).await, &mesh::IDEMPOTENCY_MISMATCH);
    }

    /// People know a rule by its slug; one that has none is named by its id.
    async fn the_title_names_the_rule(store: TestStore) {
        let house = House::over(store).await;
        let named = pb::OpenViolationIncidentRequest { rule_slug: "no-names-in-mails".into(), ..violation(1, "r1") };
        for (request, title) in [
            (named, "A run violated the rule no-names-in-mails"),
            (violation(2, "r2"), "A run violated the rule r2"),
        ] {
            let opened = house.open(request).await.unwrap();
            let incident = house.get(&opened.incident_id).await.incident.unwrap();
            assert_eq!(incident.title, title);
        }
        let long = pb::OpenViolationIncidentRequest { rule_slug: "x".repeat(129), ..violation(3, "r3") };
        refused(house.open(long).await, &mesh::FIELD_INVALID);
    }

    /// Rules `r1` and `r10` are two incidents; three facts of `r1` are one, whichever code each had.
    async fn a_rule_has_one_incident_in_a_run(store: TestStore) {
        let house = House::over(store).await;
        let facts = join_all((1..=3).map(|n| house.open(violation(n, "r1")))).await;
        let ids: Vec<_> = facts.into_iter().map(|f| f.unwrap().incident_id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let tenth = house.open(violation(4, "r10")).await.unwrap();
        assert!(!tenth.existing && tenth.incident_id != ids[0]);
        let found = house.get(&ids[0]).await;
        assert_eq!((found.incident.unwrap().occurrence_count, found.evidence_count, found.links.len()), (3, 6, 3));
        let elsewhere = pb::OpenViolationIncidentRequest { run_id: run(2), ..violation(5, "r1") };
        assert_ne!(house.open(elsewhere).await.unwrap().incident_id, ids[0], "never over runs");
    }

    /// However late it comes, and whoever had ended the incident: the rule keeps its one incident.
    async fn a_later_violation_takes_the_incident_up_again(store: TestStore) {
        let house = House::over(store).await;
        let first = house.open(violation(1, "r1")).await.unwrap();
        house.after(Duration::from_secs(3 * 86_400));
        let later = house.open(violation(2, "r1")).await.unwrap();
        assert_eq!((later.incident_id.as_str(), later.existing), (first.incident_id.as_str(), true));
        house.close(&house.incident(&first.incident_id).await).await;
        let worse = pb::OpenViolationIncidentRequest { severity: Severity::Critical.into(), ..violation(3, "r1") };
        let again = house.open(worse).await.unwrap();
        assert_eq!((again.incident_id.as_str(), again.severity()), (first.incident_id.as_str(), Severity::Critical));
        let incident = house.incident(&first.incident_id).await;
        assert_eq!((incident.status(), incident.occurrence_count), (IncidentStatus::Open, 3));
        assert_eq!(house.count("incidents").await, 1);
        let kinds = house.published_kinds().await;
        let of = |name: &str| kinds.iter().filter(|k| *k == name).count();
        assert_eq!((of("IncidentOpened"), of("IncidentReopened"), of("IncidentLinked")), (1, 1, 3));
    }

    /// A run that the rule then stops joins the incident of its violation.
    async fn the_end_of_the_run_joins(store: TestStore) {
        let house = House::over(store).await;
        let opened = house.open(violation(1, "r1")).await.unwrap();
        let blocked = pb::ReportRunOutcomeRequest {
            status: 7,
            termination_reason: 2,
            violation_policy_id: "r1".into(),
            ..failed(1)
        };
        assert_eq!(house.report(blocked).await.unwrap().incident_id, opened.incident_id);
    }

    /// No fact, no evidence, no incident; everything wrong is told at once.
    async fn nothing_is_opened_for_nothing(store: TestStore) {
        let house = House::over(store).await;
        let unnamed = pb::OpenViolationIncidentRequest { violation_id: String::new(), ..violation(1, "r1") };
        refused(house.open(unnamed).await, &reasons::VIOLATION_REQUIRED);
        let unproved = pb::OpenViolationIncidentRequest { evidence: Vec::new(), ..violation(1, "r1") };
        refused(house.open(unproved).await, &reasons::EVIDENCE_REQUIRED);
        let status = house.open(pb::OpenViolationIncidentRequest::default()).await.unwrap_err();
        assert!(runspine_rpc::details(&status).fields.len() >= 6, "{status:?}");
        assert_eq!(house.count("incidents").await, 0);
    }
}
