use super::*;
use crate::{Category, CauseType, Source};

fn subject() -> Subject {
    Subject {
        tenant_id: "t".into(),
        project_id: String::new(),
        trigger: Trigger::RunFailure,
        source: Source::Run,
        cause_type: CauseType::Run,
        category: Category::ExecutionFailure,
        severity: Severity::Low,
        cause_code: "CANCELLED".into(),
        title: "x".into(),
        description: String::new(),
        error_message: String::new(),
        agent_id: "a".into(),
        rule_id: String::new(),
        scope_id: String::new(),
        tool_name: String::new(),
        synthetic: false,
        synthetic_scenario_id: String::new(),
        aware_at: None,
    }
}

fn occurrence(n: u32) -> Occurrence {
    Occurrence {
        id: format!("o{n}"),
        run_id: format!("r{n}"),
        attempt: 1,
        cause_code: "CANCELLED".into(),
        fact_id: String::new(),
        step_index: None,
        tool_name: String::new(),
        occurred_at: Micros(0),
        recorded_at: Micros(0),
        cost_microusd: 7,
        overflow: false,
    }
}

fn opened() -> Incident {
    Incident::open("i".into(), 1, subject(), Some(&occurrence(0)), Micros(1)).0
}

fn resolution() -> (ResolutionMethod, ResolutionType) {
    (ResolutionMethod::Manual, ResolutionType::Fixed)
}

fn in_state(status: Status) -> Incident {
    let mut incident = opened();
    match status {
        Status::Open => {}
        Status::Acknowledged => drop(incident.acknowledge("kim", "", Micros(2)).unwrap()),
        Status::Resolved => drop(incident.resolve("kim", resolution(), "done", Micros(2)).unwrap()),
        Status::ClosedManually => drop(incident.close("kim", CloseReason::Other, "n", Micros(2)).unwrap()),
        Status::Voided => drop(incident.void(&occurrence(0), "undo", Micros(2)).unwrap()),
    }
    assert_eq!(incident.status, status);
    incident
}

#[test]
fn every_command_in_every_state_moves_by_the_table_or_is_refused_and_changes_nothing() {
    type Command = (Act, fn(&mut Incident) -> Outcome<Entries>);
    let commands: [Command; 5] = [
        (Act::Acknowledge, |i| i.acknowledge("lee", "", Micros(9))),
        (Act::Resolve, |i| i.resolve("lee", resolution(), "s", Micros(9))),
        (Act::Close, |i| i.close("lee", CloseReason::Duplicate, "", Micros(9))),
        (Act::Reopen, |i| i.reopen("again", Micros(9))),
        (Act::Flap, |i| i.flap(&occurrence(1), Severity::Low, Micros(9))),
    ];
    for status in Status::ALL {
        for (act, command) in &commands {
            let before = in_state(*status);
            let mut after = before.clone();
            match (state::next(*status, *act), command(&mut after)) {
                (Ok(to), Ok(entries)) => {
                    assert_eq!((after.status, after.version), (to, before.version + 1), "{status:?} {act:?}");
                    assert_eq!(entries[0].status, to);
                }
                (Err(_), Err(fault)) => {
                    assert!(fault.is(&reasons::INVALID_TRANSITION));
                    assert_eq!(after, before, "{status:?} {act:?}");
                }
                (table, answer) => panic!("{status:?} {act:?}: {table:?} {answer:?}"),
            }
        }
    }
}

#[test]
fn acknowledging_twice_by_one_actor_changes_nothing() {
    let mut incident = in_state(Status::Acknowledged);
    let before = incident.clone();
    assert_eq!(incident.acknowledge("kim", "", Micros(9)).unwrap(), vec![]);
    assert_eq!(incident, before);
    assert!(incident.acknowledge("lee", "", Micros(9)).is_err());
}

#[test]
fn severity_never_falls() {
    for present in Severity::ALL {
        for asked in Severity::ALL {
            let mut incident = opened();
            incident.subject.severity = *present;
            match incident.raise(*asked, "why", Micros(3)) {
                Ok(_) => assert!(asked > present && incident.subject.severity == *asked),
                Err(fault) => {
                    assert!(asked <= present && fault.is(&reasons::SEVERITY_ONLY_RISES));
                    assert_eq!(incident.subject.severity, *present);
                }
            }
            let _ = incident.join(&occurrence(1), *asked, Micros(4));
            assert!(incident.subject.severity >= *present.max(asked));
        }
    }
}

#[test]
fn a_thousand_occurrences_rise_to_critical_once_per_step() {
    let mut incident = opened();
    let mut rises = Vec::new();
    for n in 1..1_000 {
        for entry in incident.join(&occurrence(n), Severity::Low, Micros(5)) {
            if entry.kind == EventKind::SeverityRaised {
                rises.push((incident.occurrence_count, entry.severity));
            }
        }
    }
    assert_eq!(incident.occurrence_count, 1_000);
    assert_eq!(incident.cost_impact_microusd, 7_000);
    assert_eq!(rises, [(10, Severity::Medium), (50, Severity::High), (200, Severity::Critical)]);
}

#[test]
fn voiding_the_last_occurrence_voids_an_incident_that_nobody_took() {
    let mut alone = opened();
    alone.void(&occurrence(0), "undo", Micros(2)).unwrap();
    assert_eq!((alone.status, alone.occurrence_count, alone.joinable), (Status::Voided, 0, false));

    let mut taken = in_state(Status::Acknowledged);
    taken.void(&occurrence(0), "undo", Micros(3)).unwrap();
    assert_eq!((taken.status, taken.occurrence_count), (Status::Acknowledged, 0));

    let mut grouped = opened();
    for n in 1..5 {
        let _ = grouped.join(&occurrence(n), Severity::Low, Micros(2));
    }
    grouped.void(&occurrence(2), "undo", Micros(3)).unwrap();
    assert_eq!(
        (grouped.status, grouped.occurrence_count, grouped.cost_impact_microusd),
        (Status::Open, 4, 28)
    );
}

#[test]
fn another_version_is_refused() {
    let incident = opened();
    assert!(incident.expect_version(1).is_ok());
    assert!(incident.expect_version(2).unwrap_err().is(&reasons::VERSION_MOVED));
}
