//! The table and its rules.

use super::*;
use crate::{limit::RunScope, reasons};

const NOW: Micros = Micros(1_767_323_045_000_000);

#[test]
fn the_table_is_what_the_mesh_promises() {
    use Consequence::{Alert, Incident};
    use GuardrailAction::{Block, Freeze, Reject, Throttle};
    let defaults = Defaults::default();
    let row = |guardrail: Guardrail| {
        let spec = guardrail.spec(defaults.of(guardrail));
        let window = (spec.window_s, spec.burst);
        (guardrail.name(), spec.max_value, guardrail.actions().to_vec(), spec.consequence, window)
    };
    let rows: Vec<_> = Guardrail::ALL.iter().copied().map(row).collect();
    assert_eq!(
        rows,
        [
            ("g.run.cost", 5_000_000, vec![Block], Incident, (0, 0)),
            ("g.step.cost", 1_000_000, vec![Block], Alert, (0, 0)),
            ("g.run.tokens", 100_000, vec![Block], Alert, (0, 0)),
            ("g.step.tokens", 10_000, vec![Block], Alert, (0, 0)),
            ("g.agent.day.cost", 100_000_000, vec![Block, Freeze], Incident, (0, 0)),
            ("g.tenant.day.requests", 10_000, vec![Reject], Alert, (86_400, 10_000)),
            ("g.key.minute.requests", 600, vec![Throttle], Alert, (60, 100)),
            ("g.agent.failures", 20, vec![Freeze], Incident, (0, 0)),
            ("g.run.loop", 20, vec![Block], Incident, (0, 0)),
        ]
    );
}

#[test]
fn each_is_a_limit_that_a_tenant_could_have_made() {
    for guardrail in Guardrail::ALL.iter().copied() {
        let (least, most) = guardrail.range();
        for value in [least, Defaults::default().of(guardrail), most] {
            let limit = guardrail.limit("t", value, NOW);
            // What counts failures has no bound that an admission compares.
            let own = guardrail == Guardrail::AgentFailures;
            assert_eq!(limit.spec.validate().is_err(), own, "{guardrail:?} {value}");
            assert_eq!(Guardrail::of(&limit), Some(guardrail));
        }
        let manual = Limit { source: LimitSource::Manual, ..guardrail.limit("t", least, NOW) };
        assert_eq!(Guardrail::of(&manual), None);
    }
}

#[test]
fn a_tenant_has_each_once_under_an_id_of_its_own() {
    let defaults = Defaults::default().with(Guardrail::RunLoop, 7);
    let all = defaults.missing("t", &[], NOW);
    assert_eq!(all.len(), Guardrail::ALL.len());
    assert_eq!(all[8].spec.params.max_repeats, Some(7));
    assert!(all.iter().all(|l| runspine_types::is_uuid_v7(&l.id)));
    assert_eq!(
        defaults.missing("t", &all[1..], Micros(5)),
        [Limit { created_at: Micros(5), updated_at: Micros(5), ..all[0].clone() }]
    );
    assert!(defaults.missing("t", &all, NOW).is_empty());
    assert!(defaults.missing("u", &[], NOW).iter().all(|other| all.iter().all(|l| l.id != other.id)));
}

#[test]
fn only_an_operator_loosens() {
    let guardrail = Guardrail::KeyMinuteRequests;
    let limit = guardrail.limit("t", 600, NOW);
    let set = |limit: &Limit, value: Option<i64>, state: Option<LimitState>, operator: bool| {
        guardrail.set(limit, Setting { value, state }, 600, operator, Micros(9))
    };
    let tighter = set(&limit, Some(60), None, false).unwrap();
    assert_eq!((tighter.spec.max_value, tighter.spec.burst, tighter.version), (60, 10, 2));
    assert_eq!(set(&tighter, Some(600), None, false).unwrap().spec, limit.spec, "back to the default");
    for (value, state) in [(Some(601), None), (None, Some(LimitState::Disabled))] {
        let refused = set(&limit, value, state, false).unwrap_err();
        assert!(refused.is(&reasons::OPERATOR_REQUIRED), "{value:?}");
        assert!(set(&limit, value, state, true).is_ok());
    }
    let off = set(&limit, None, Some(LimitState::Disabled), true).unwrap();
    assert_eq!(set(&off, None, Some(LimitState::Active), false).unwrap().state, LimitState::Active);
    for value in [0, 1_000_000_001] {
        assert!(set(&limit, Some(value), None, true).unwrap_err().is(&reasons::THRESHOLD_OUT_OF_RANGE));
    }
}

#[test]
fn failures_trip_by_their_number_and_their_share() {
    for (steps, failed, expected) in
        [(19, 19, false), (20, 20, true), (40, 20, true), (41, 20, false), (41, 21, true), (0, 0, false)]
    {
        assert_eq!(trips(steps, failed, 20), expected, "{failed} of {steps}");
    }
}

#[test]
fn a_freeze_lasts_an_hour_or_to_midnight() {
    let (reason, until) = Guardrail::AgentDayCost.freezes(NOW).unwrap();
    // 2026-01-03T00:00:00Z.
    assert_eq!((reason, until), (FreezeReason::Budget, Micros(1_767_398_400_000_000)));
    let (reason, until) = Guardrail::AgentFailures.freezes(NOW).unwrap();
    assert_eq!((reason, until), (FreezeReason::FailureSpike, NOW.plus_millis(3_600_000)));
    let freezing = Guardrail::ALL.iter().filter(|g| g.freezes(NOW).is_some()).count();
    let stated = Guardrail::ALL.iter().filter(|g| g.actions().contains(&GuardrailAction::Freeze)).count();
    assert_eq!((freezing, stated), (2, 2));
}

#[test]
fn bounds_of_runs_need_no_row_of_a_run() {
    let run = RunScope {
        tenant_id: "t".into(),
        run_id: "r".into(),
        agent_id: "a".into(),
        api_key_id: "k".into(),
        ..RunScope::default()
    };
    let under = |g: &Guardrail| g.limit("t", 100_000, NOW).scope_id(&run).unwrap().to_owned();
    let ids: Vec<String> = Guardrail::ALL.iter().map(under).collect();
    assert_eq!(ids, ["t", "t", "t", "t", "a", "t", "k", "a", "t"]);
}
