use contracts_logs::v1::{ExportAttempt, ExportFigure, ExportPartStatus, add_export_part_request::Piece};
use runspine_types::hash;

use super::*;

fn order(runs: &[(&str, u32)]) -> IncidentOrder {
    IncidentOrder {
        incident_id: "in-1".into(),
        part_digest: vec![7; 32].into(),
        attempts: runs
            .iter()
            .map(|(run, attempt)| ExportAttempt { run_id: (*run).into(), attempt: *attempt })
            .collect(),
        ..Default::default()
    }
}

fn struck(run: &str, verified: bool) -> Struck {
    let fields = [
        ("run_id", json!(run)),
        ("attempt", json!(1)),
        ("total_steps", json!(3)),
        ("total_tokens", json!(5)),
    ];
    Struck {
        fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        facts: Facts {
            trace: true,
            verified,
            complete: true,
            total_tokens: 5,
            seal_digest: Some(hash(b"seal")),
            category: "EXECUTION_FAILURE",
            ..Facts::default()
        },
        proof: if verified { "VERIFIED" } else { "MISMATCH" },
        verdict: "COMPLETE",
        certificates: vec![],
    }
}

fn figure_of(name: &str, value: Value) -> Piece {
    Piece::Figure(ExportFigure { name: name.into(), value: value.to_string(), reference: "x.v1.S/M".into() })
}

fn attempt_of(run: &str, attempt: u32) -> Piece {
    let json = if attempt == 0 { json!({"runId": run}) } else { json!({"runId": run, "attempt": attempt}) };
    Piece::Document(ExportDocument { r#type: ATTEMPT.into(), json: json.to_string() })
}

fn part(pieces: Vec<Piece>) -> Part {
    Part { source: "incidents".into(), status: ExportPartStatus::Ok, reason: String::new(), pieces }
}

#[test]
fn figures_are_sums_and_each_attempt_stands_for_itself() {
    let parts = [part(vec![figure_of("incident_category", json!("BUDGET_EXCEEDED"))])];
    let all = [struck("a", true), struck("b", true)];
    let fields = incident_fields(&order(&[("a", 1), ("b", 1)]), BTreeMap::new(), &all, &parts);
    assert_eq!((&fields["total_steps"], &fields["total_tokens"]), (&json!(6), &json!(10)));
    assert_eq!((&fields["run_id"], &fields["incident_id"]), (&json!("a"), &json!("in-1")));
    assert_eq!(fields["runs"][1]["run_id"], "b");
    assert_eq!(fields["runs"][1]["proof"], "VERIFIED");
    assert_eq!(
        fields["incident_category"], "BUDGET_EXCEEDED",
        "what incidents say goes before what the end says"
    );
    let none = incident_fields(&order(&[]), BTreeMap::new(), &[], &parts);
    assert!(
        !none.contains_key("run_id") && !none.contains_key("total_steps"),
        "what nobody knows is missing"
    );
}

#[test]
fn one_attempt_that_is_not_proved_takes_the_attestation_of_its_proof_and_all_demonstrations() {
    let all = [struck("a", true), struck("b", false)];
    for (category, _) in [("EXECUTION_FAILURE", 0), ("BUDGET_EXCEEDED", 0), ("SOMETHING", 0)] {
        let parts = [part(vec![
            figure_of("incident_category", json!(category)),
            figure_of("breach_count", json!(2)),
        ])];
        let fields = incident_fields(&order(&[("a", 1), ("b", 1)]), BTreeMap::new(), &all, &parts);
        assert!(!fields["control_mappings"].to_string().contains("DEMONSTRATED"), "{category}");
        let said = fields["attestation_statement"].as_str().unwrap();
        let (of_a, of_b) = said.split_once("Run b").unwrap();
        assert!(of_a.contains("agrees with seal") && !of_b.contains("agrees"), "{said}");
        let proved = incident_fields(&order(&[("a", 1)]), BTreeMap::new(), &all[..1], &parts);
        assert!(proved["control_mappings"].to_string().contains("DEMONSTRATED"), "{category}");
    }
    let none = incident_fields(&order(&[]), BTreeMap::new(), &[], &[]);
    assert!(!none["control_mappings"].to_string().contains("DEMONSTRATED"));
    assert!(none["attestation_statement"].as_str().unwrap().contains("nothing is attested"));
}

#[test]
fn what_incidents_gave_must_be_what_was_ordered() {
    let wanted = order(&[("a", 1), ("b", 0)]);
    let digest = figure_of("incident_part_digest", json!(hex::encode([7; 32])));
    let named = figure_of("incident_id", json!("in-1"));
    let good = vec![named.clone(), digest.clone(), attempt_of("b", 0), attempt_of("a", 1)];
    assert!(agrees(&wanted, &[part(good.clone())]));
    for left_out in 0..good.len() {
        let mut other = good.clone();
        other.remove(left_out);
        assert!(!agrees(&wanted, &[part(other)]), "{left_out}");
    }
    let more = good.iter().cloned().chain([attempt_of("c", 1)]).collect();
    assert!(!agrees(&wanted, &[part(more)]));
    let away = Part { status: ExportPartStatus::Timeout, ..part(vec![]) };
    assert!(agrees(&wanted, &[away]), "who could not be asked is named elsewhere");
}

#[test]
fn a_page_says_how_the_incident_stands_or_that_nobody_knows() {
    let wanted = order(&[("a", 1)]);
    let parts = [part(vec![
        figure_of("incident_severity", json!("HIGH")),
        figure_of("incident_status", json!("OPEN")),
        figure_of("occurrence_count", json!(4)),
    ])];
    let fields = [("total_cost_microusd".to_owned(), json!(9))].into();
    let said = incident_summary(&wanted, &fields, &parts);
    assert_eq!(said, "Incident in-1 is HIGH and OPEN: 4 occurrences in 1 attempts, which cost 9 micro-USD.");
    assert!(incident_summary(&wanted, &fields, &[]).contains("could not be asked"));
}
