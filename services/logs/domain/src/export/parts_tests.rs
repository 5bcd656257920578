use super::*;

fn figure_of(name: &str, value: &str) -> Piece {
    Piece::Figure(ExportFigure { name: name.into(), value: value.into(), reference: "x.v1.S/M".into() })
}

fn part(source: &str, pieces: Vec<Piece>) -> Part {
    Part { source: source.into(), status: ExportPartStatus::Ok, reason: String::new(), pieces }
}

fn own() -> BTreeMap<String, Value> {
    let fields = [
        ("run_id", json!("r-1")),
        ("attempt", json!(2)),
        ("termination_reason", json!("POLICY_BLOCK")),
        ("total_steps", json!(3)),
        ("incident_id", json!("heard")),
        ("control_mappings", json!(["x"])),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn evidence_holds_everything_that_came_and_nothing_of_soc2() {
    let document = ExportDocument { r#type: "a.B".into(), json: r#"{"id":"7"}"#.into() };
    let parts = [
        part("incidents", vec![Piece::Document(document), figure_of("incident_count", "1")]),
        Part {
            source: "policies".into(),
            status: ExportPartStatus::Timeout,
            reason: "DEADLINE_EXCEEDED".into(),
            pieces: vec![],
        },
    ];
    let bundle = evidence(own(), &parts);
    assert_eq!(
        bundle["sources"]["incidents"]["documents"][0],
        json!({"type": "a.B", "document": {"id": "7"}})
    );
    assert_eq!(bundle["sources"]["incidents"]["figures"]["incident_count"]["value"], 1);
    assert_eq!(bundle["sources"]["policies"]["status"], "TIMEOUT");
    assert_eq!((bundle["run_id"].as_str(), bundle.get("control_mappings")), (Some("r-1"), None));
    assert_eq!(failed(&parts).collect::<Vec<_>>(), ["sources.policies"]);
}

#[test]
fn every_figure_of_the_page_names_its_source() {
    let parts = [
        part(
            "incidents",
            vec![
                figure_of("incident_id", "\"in-1\""),
                figure_of("incident_count", "2"),
                figure_of("incident_severity", "\"HIGH\""),
                figure_of("incident_status", "\"OPEN\""),
                figure_of("detected_at", "9000000"),
            ],
        ),
        part("policies", vec![figure_of("violated_at", "8000000"), figure_of("nobody_asked_for", "1")]),
    ];
    let page = executive(&own(), &parts);
    for (section, _) in SECTIONS {
        for (name, figure) in page[section].as_object().unwrap() {
            assert!(!figure["reference"].as_str().unwrap().is_empty(), "{section} {name}");
        }
    }
    assert_eq!(page["remediation"]["incident_id"]["value"], "in-1", "incidents know their ids best");
    assert_eq!(page["violation"]["detection_gap_ms"]["value"], 1_000);
    assert!(page["summary"].as_str().unwrap().ends_with("Incidents: 2; the worst is HIGH and OPEN."));
    let missing = page["missing"].as_array().unwrap();
    assert!(missing.contains(&json!("freeze_count")) && !missing.contains(&json!("incident_id")));
    let quiet = executive(&own(), &[part("incidents", vec![figure_of("incident_count", "0")])]);
    assert!(quiet["summary"].as_str().unwrap().ends_with("no incident."));
    let deaf = executive(&own(), &[]);
    assert!(deaf["summary"].as_str().unwrap().ends_with("could not be asked."));
}

#[test]
fn a_figure_without_a_value_is_none() {
    let parts = [part("policies", vec![figure_of("a", "null"), figure_of("b", "\"\""), figure_of("c", "0")])];
    let found = ["a", "b", "c", "d"].map(|name| figure(&parts, name));
    assert_eq!(found, [None, None, Some(json!(0)), None]);
}
