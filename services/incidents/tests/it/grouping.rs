//! Windows, flapping, the hourly cap, severity by count.

use std::time::Duration;

use contracts_incidents::v1::{Disposition, IncidentStatus, ReportRunOutcomeRequest, Severity, TriggerType};
use futures::future::join_all;
use runspine_testkit::{TestStore, on_both_engines};

use crate::harness::{House, failed, failed_with, succeeded};

const WINDOW: Duration = Duration::from_secs(300);

on_both_engines! {
    /// 32 concurrent first arrivals of one key open one incident.
    async fn first_arrivals_open_one(store: TestStore) {
        let house = House::over(store).await;
        let answers = join_all((0..32).map(|number| house.report(failed(number)))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let opened = answers.iter().filter(|a| a.disposition == Disposition::Opened as i32).count();
        assert_eq!(opened, 1);
        assert!(answers.iter().all(|a| a.incident_id == answers[0].incident_id));
        assert_eq!(house.count("incidents").await, 1);
        assert_eq!(house.incident(&answers[0].incident_id).await.occurrence_count, 32);
    }

    /// Two replicas race for five keys: one incident a key, every arrival counted, numbers without a hole.
    async fn replicas_open_one(store: TestStore) {
        let house = House::over(store).await;
        let replicas = [house.replica().await, house.replica().await];
        let calls = (0..40_u64).map(|number| {
            let mut replica = replicas[usize::try_from(number % 2).unwrap()].clone();
            let house = &house;
            let report = failed_with(number, &format!("CODE_{}", number / 2 % 5));
            async move {
                // A lost race is UNAVAILABLE: the spine repeats the call.
                loop {
                    let request = house.ask("IncidentReportService/ReportRunOutcome", report.clone());
                    match replica.report_run_outcome(request).await {
                        Ok(answer) => return answer.into_inner(),
                        Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}"),
                    }
                }
            }
        });
        let answers = join_all(calls).await;
        assert_eq!(answers.iter().filter(|a| a.disposition == Disposition::Opened as i32).count(), 5);
        assert_eq!(house.one::<(i64, i64, i64)>("SELECT COUNT(*), MAX(seq), MIN(occurrence_count) FROM incidents").await, (5, 5, 8));
        assert_eq!(house.one::<(i64,)>("SELECT opened FROM opened_hours").await.0, 5);
    }

    /// Exactly 300 s joins; a microsecond more opens another that is linked as recurring.
    async fn the_window_ends_at_the_microsecond(store: TestStore) {
        let house = House::over(store).await;
        let first = house.report(failed(1)).await.unwrap();
        house.after(WINDOW);
        assert_eq!(house.report(failed(2)).await.unwrap().incident_id, first.incident_id);
        house.after(WINDOW + Duration::from_micros(1));
        let second = house.report(failed(3)).await.unwrap();
        assert_eq!(second.disposition, Disposition::Opened as i32);
        let detail = house.get(&second.incident_id).await;
        assert_eq!(detail.links.len(), 1);
        assert_eq!((detail.links[0].link_type, &detail.links[0].target_id), (15, &first.incident_id));
        assert_eq!(house.incident(&first.incident_id).await.status, IncidentStatus::Open as i32);
        assert_eq!(house.report(failed(4)).await.unwrap().incident_id, second.incident_id);
    }

    /// After a day of joining, the next one opens another.
    async fn the_span_ends_after_a_day(store: TestStore) {
        let house = House::over(store).await;
        let first = house.report(failed(0)).await.unwrap();
        for number in 1..=288 {
            house.after(WINDOW);
            assert_eq!(house.report(failed(number)).await.unwrap().incident_id, first.incident_id);
        }
        house.after(WINDOW);
        assert_ne!(house.report(failed(289)).await.unwrap().incident_id, first.incident_id);
    }

    /// What resolved by itself and comes back at once is the same incident; what a person resolved is not.
    async fn it_flaps_after_its_own_resolution(store: TestStore) {
        let house = House::over(store).await;
        let first = house.report(failed(1)).await.unwrap();
        house.report(succeeded(1, 2)).await.unwrap();
        house.after(WINDOW);
        let again = house.report(failed(2)).await.unwrap();
        assert_eq!((again.disposition, &again.incident_id), (Disposition::Joined as i32, &first.incident_id));
        let incident = house.incident(&first.incident_id).await;
        assert_eq!((incident.status, incident.resolved_at), (IncidentStatus::Open as i32, None));
        let kinds: Vec<_> = house.history(&first.incident_id).await.iter().map(|e| e.kind).collect();
        assert_eq!(kinds, [1, 10, 13], "OPENED, AUTO_RESOLVED, FLAPPED");
        let published = house.published_kinds().await;
        assert!(published.contains(&"IncidentReopened".to_owned()));
        // And too late, it is another one.
        house.report(ReportRunOutcomeRequest { attempt: 3, ..failed(1) }).await.unwrap();
        let other = house.report(failed_with(9, "SKILL_ERROR")).await.unwrap();
        house.report(succeeded(9, 2)).await.unwrap();
        house.after(WINDOW + Duration::from_micros(1));
        let late = house.report(failed_with(10, "SKILL_ERROR")).await.unwrap();
        assert_ne!(late.incident_id, other.incident_id);
        assert_eq!(house.get(&late.incident_id).await.links[0].target_id, other.incident_id);
    }

    /// The 21st distinct failure of an hour goes to the overflow incident; a CRITICAL one gets its own all the same.
    async fn the_hourly_cap_overflows(store: TestStore) {
        let house = House::over(store).await;
        for number in 0..20 {
            let answer = house.report(failed_with(number, &format!("CODE_{number}"))).await.unwrap();
            assert_eq!(answer.disposition, Disposition::Opened as i32);
        }
        let over = house.report(failed_with(20, "CODE_20")).await.unwrap();
        assert_eq!(over.disposition, Disposition::Overflowed as i32);
        let critical = house.report(failed_with(21, "AGENT_CRASH")).await.unwrap();
        assert_eq!(critical.disposition, Disposition::Opened as i32);
        // Known trouble still joins its own incident, and pauses do not end the overflow incident of the hour.
        assert_eq!(house.report(failed_with(22, "CODE_3")).await.unwrap().disposition, Disposition::Joined as i32);
        house.after(WINDOW + WINDOW);
        let more = house.report(failed_with(23, "CODE_23")).await.unwrap();
        assert_eq!((more.disposition, &more.incident_id), (Disposition::Overflowed as i32, &over.incident_id));
        let found = house.of_run(20).await;
        assert_eq!(found.incidents[0].trigger_type, TriggerType::Overflow as i32);
        assert_eq!(found.incidents[0].severity, Severity::High as i32);
        assert_eq!(found.incidents[0].title, "2 more failures in this hour than the 20 incidents that it may open");
        assert!(found.occurrences[0].overflow && found.occurrences[0].cause_code == "CODE_20");
        // The next hour has places again.
        house.after(Duration::from_secs(3_600));
        assert_eq!(house.report(failed_with(24, "CODE_24")).await.unwrap().disposition, Disposition::Opened as i32);
    }

    /// 200 alike failures: one incident that rose once per step.
    async fn severity_rises_by_count(store: TestStore) {
        let house = House::over(store).await;
        let answers = join_all((0..200).map(|number| house.report(failed_with(number, "CANCELLED")))).await;
        let id = answers[0].as_ref().unwrap().incident_id.clone();
        let incident = house.incident(&id).await;
        assert_eq!((incident.occurrence_count, incident.severity), (200, Severity::Critical as i32));
        let rises: Vec<_> = house.history(&id).await.into_iter().filter(|e| e.kind == 3).map(|e| e.severity).collect();
        assert_eq!(rises, [2, 3, 4]);
        assert_eq!(house.count("incident_occurrences").await, 200);
    }
}
