//! Contracts are read from descriptors, and bad ones refuse the start, all at once.

use runspine_rpc::{Problem, Registry, RegistryError};

use super::protos::{DEMO, HEAD, compile, demo};

fn problems(body: &str) -> Vec<(String, &'static str)> {
    let set = compile("bad.proto", &format!("{HEAD}{body}"));
    let found: RegistryError = Registry::read(&[&set]).expect_err("accepted");
    let mut codes: Vec<_> = found.problems().iter().map(|p| (p.subject.clone(), p.code)).collect();
    codes.sort();
    codes
}

fn rpc(name: &str, contract: &str) -> String {
    format!(
        "rpc {name}(DemoRequest) returns (DemoResponse) {{ option (runspine.contract.v1.operation) = {{{contract}}}; }}\n"
    )
}

const GOOD: &str = r#"role: ROLE_OBSERVES exposure: EXPOSURE_MESH permission: "demo.read" commit: COMMIT_NONE
    idempotency: IDEMPOTENCY_NO_SIDE_EFFECTS deadline_ms: 1"#;

#[test]
fn a_good_contract_is_read_in_full() {
    let registry = Registry::read(&[demo()]).unwrap();
    assert_eq!(registry.operations().len(), 3);
    let put = registry.operation("/runspine.demo.v1.DemoService/Put").unwrap();
    assert_eq!((put.domain.as_str(), put.permission.as_str()), ("demo", "demo.write"));
    assert_eq!(put.key_fields().collect::<Vec<_>>(), ["key"]);
    assert_eq!(put.deadline, Some(std::time::Duration::from_millis(2_000)));
    assert!(registry.operation("runspine.demo.v1.DemoService/Watch").unwrap().server_streaming);
}

#[test]
fn every_planted_problem_is_found_in_one_go() {
    let planted = [
        "service BadService {\n".to_owned(),
        "rpc NoContract(DemoRequest) returns (DemoResponse);\n".to_owned(),
        rpc("NoRole", &GOOD.replace("role: ROLE_OBSERVES", "")),
        rpc(
            "NoKey",
            &GOOD
                .replace("IDEMPOTENCY_NO_SIDE_EFFECTS", "IDEMPOTENCY_KEYED")
                .replace("COMMIT_NONE", "COMMIT_OWNS"),
        ),
        rpc(
            "BadKey",
            &format!(
                "{} key: \"key.deep\"",
                GOOD.replace("IDEMPOTENCY_NO_SIDE_EFFECTS", "IDEMPOTENCY_KEYED")
            ),
        ),
        rpc("NoPermission", &GOOD.replace("demo.read", "")),
        rpc("Writes", &GOOD.replace("COMMIT_NONE", "COMMIT_OWNS")),
        rpc("Forever", &GOOD.replace("deadline_ms: 1", "deadline_ms: 0")),
        rpc("Calls", &format!("{GOOD} calls: \"runspine.gone.v1.X/Y\"")),
        rpc("Fine", GOOD),
        "}\n".to_owned(),
    ];
    let name = |method: &str| format!("runspine.demo.v1.BadService/{method}");
    let expected = [
        (name("BadKey"), Problem::KEY_MISSING),
        (name("Calls"), Problem::CALL_UNKNOWN),
        (name("Calls"), Problem::DOMAIN_CALLS),
        (name("Forever"), Problem::DEADLINE_MISSING),
        (name("NoContract"), Problem::CONTRACT_MISSING),
        (name("NoKey"), Problem::KEY_MISSING),
        (name("NoPermission"), Problem::PERMISSION_INVALID),
        (name("NoRole"), Problem::ENUM_UNSPECIFIED),
        (name("Writes"), Problem::IDEMPOTENCY_INVALID),
    ];
    assert_eq!(problems(&planted.concat()), expected);
}

#[test]
fn the_spine_has_no_mesh_operations() {
    let text = format!("{HEAD}service S {{\n{}}}\n", rpc("Inner", GOOD))
        .replace("runspine.demo.v1", "runspine.spine.v1");
    let found = Registry::read(&[&compile("spine.proto", &text)]).expect_err("accepted");
    assert_eq!(found.problems().len(), 1);
    assert_eq!(found.problems()[0].code, Problem::EXPOSURE_INVALID);
}

#[test]
fn two_files_with_the_same_service_are_refused() {
    let other = compile("other.proto", &format!("{HEAD}{DEMO}"));
    let found = Registry::read(&[demo(), &other]).expect_err("accepted");
    assert!(found.problems().iter().any(|p| p.code == Problem::DESCRIPTOR_INVALID), "{found}");
}

#[test]
fn events_are_catalogued_and_checked() {
    let event = |message: &str, contract: &str| {
        format!("message {message} {{ option (runspine.contract.v1.event) = {{{contract}}}; }}\n")
    };
    let good = event("Done", r#"name: "demo.Done" version: "1.0.0" ledger: LEDGER_RUN"#);
    let set = compile("events.proto", &format!("{HEAD}{good}"));
    let registry = Registry::read(&[&set]).unwrap();
    assert_eq!(registry.events().len(), 1);
    assert_eq!(registry.event("demo.Done").unwrap().message, "runspine.demo.v1.Done");

    let bad = [
        good,
        event("Again", r#"name: "demo.Done" version: "1.0.0" ledger: LEDGER_NONE"#),
        event("Foreign", r#"name: "logs.Done" version: "1.0.0" ledger: LEDGER_NONE"#),
        event("Loose", r#"name: "demo.Loose" version: "one" ledger: LEDGER_NONE"#),
        event("Silent", r#"name: "demo.Silent" version: "1.0.0""#),
    ];
    let expected = [
        ("demo.Done".to_owned(), Problem::NAME_DUPLICATE),
        ("runspine.demo.v1.Foreign".to_owned(), Problem::EVENT_INVALID),
        ("runspine.demo.v1.Loose".to_owned(), Problem::EVENT_INVALID),
        ("runspine.demo.v1.Silent".to_owned(), Problem::ENUM_UNSPECIFIED),
    ];
    assert_eq!(problems(&bad.concat()), expected);
}

#[test]
fn a_worker_can_only_declare_what_exists() {
    let registry = Registry::read(&[demo()]).unwrap();
    assert!(registry.worker("w", &["runspine.demo.v1.DemoService/Put"]).is_ok());
    let found = registry.worker("w", &["runspine.demo.v1.DemoService/Gone"]).expect_err("accepted");
    assert_eq!(found.problems()[0].subject, "worker:w");
}
