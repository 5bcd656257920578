//! Exports of what other domains know: the saga as every saga is tested, and what it leaves in the export.

use contracts_logs::v1::{
    CreateExportRequest, CreateExportResponse, Export, ExportOrdered, ExportPartStatus, ExportScope,
    ExportState, GetExportRequest, GetExportResponse,
};
use runspine_rpc::timestamp;
use runspine_types::{Clock as _, SystemClock};

use super::*;

const SOURCES: [&str; 4] = ["activity", "controls", "incidents", "policies"];
/// How long an export waits, in milliseconds.
const WAITS_MS: i64 = 900_000;

/// A run that failed and is over.
async fn over(house: &House) -> String {
    let ended = Ended::before(house, 1).await;
    finish::<Completion>(house, &ended).await;
    ended.run_id
}

/// An order as logs tells of it.
async fn order(house: &House, run_id: &str, scope: ExportScope, sources: &[&str]) -> ExportOrdered {
    let create = CreateExportRequest {
        request_id: new_id(),
        scope: scope.into(),
        run_id: run_id.to_owned(),
        reason: "asked for by the auditor".to_owned(),
        ..Default::default()
    };
    let created: CreateExportResponse = house.ask("logs.v1.ExportService/CreateExport", create).await;
    let export = created.export.unwrap();
    let until = runspine_rpc::micros(export.created_at.as_ref().unwrap()).plus_millis(WAITS_MS);
    ExportOrdered {
        export_id: export.export_id,
        scope: export.scope,
        run_id: export.run_id,
        attempt: export.attempt,
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        waits_until: Some(timestamp(until)),
        ..ExportOrdered::default()
    }
}

/// An export when it is made, or given up.
async fn made(house: &House, export_id: &str) -> Export {
    until_ok(Duration::from_secs(60), || async {
        let get = GetExportRequest { export_id: export_id.to_owned() };
        let found: GetExportResponse = house.ask("logs.v1.ExportService/GetExport", get).await;
        let export = found.export.unwrap();
        let over = matches!(export.state(), ExportState::Completed | ExportState::Failed);
        if over { Ok(export) } else { Err(format!("{:?}", export.state())) }
    })
    .await
}

impl Saga for Exported {
    type Subject = ExportOrdered;
    /// Declared, read, four times asked, added and noted, closed, judged and read again.
    const CALLS: usize = 17;

    async fn before(house: &House) -> ExportOrdered {
        let run_id = over(house).await;
        order(house, &run_id, ExportScope::Evidence, &SOURCES).await
    }

    async fn drive(kernel: &Kernel, context: &Context, order: &ExportOrdered) -> Result<(), String> {
        match kernel.export_ordered(context, order).await.map_err(|fault| fault.to_string())? {
            Driven::Done(_) => Ok(()),
            open => Err(format!("{open:?}")),
        }
    }

    async fn check(house: &House, order: &ExportOrdered) {
        let contract = house.contract("export", &order.export_id, 1).await;
        let stands = (contract.state(), contract.audit_status());
        assert_eq!(stands, (ContractState::Closed, AuditStatus::Complete), "{contract:?}");
        let export = made(house, &order.export_id).await;
        assert_eq!(export.state(), ExportState::Completed, "{export:?}");
        let mut parts: Vec<_> = export.parts.iter().map(|p| (p.source.as_str(), p.status())).collect();
        parts.sort_unstable();
        assert_eq!(parts, SOURCES.map(|source| (source, ExportPartStatus::Ok)));
        assert!(export.parts.iter().all(|part| part.items > 1), "{:?}", export.parts);
    }
}

/// A bundle has the decisions that policies kept; what is made is made although nobody asks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_gets_its_decisions() {
    let house = House::open().await;
    let run_id = over(&house).await;
    let order = order(&house, &run_id, ExportScope::Bundle, &["policies"]).await;
    house.tap.plan(Plan::Calm);
    Exported::drive(&house.kernel(), &house.patient(), &order).await.unwrap();
    assert!(house.tap.calls().iter().any(|call| call.ends_with("CreateCheckpoint")));
    let export = made(&house, &order.export_id).await;
    assert_eq!(export.state(), ExportState::Completed, "{export:?}");
    assert_eq!(export.parts.len(), 1);
}

/// A domain that is gone until the export's time is nearly over is named in it, and an export that must have everything
/// says what it lacks; one that a person reads is made all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_stays_away_is_named() {
    let house = House::open().await;
    let run_id = over(&house).await;
    for (scope, state) in
        [(ExportScope::Evidence, ExportState::Failed), (ExportScope::Executive, ExportState::Completed)]
    {
        let mut order = order(&house, &run_id, scope, &SOURCES).await;
        house.tap.plan(Plan::Down("incidents"));
        let waits = Exported::drive(&house.kernel(), &house.hurried(), &order).await;
        assert!(waits.is_err(), "it is waited for");
        finish::<Exported>(&house, &order).await;
        house.tap.plan(Plan::Down("incidents"));
        // Another order, of which is told when its time is nearly over.
        order.export_id = super::exported::order(&house, &run_id, scope, &SOURCES).await.export_id;
        order.waits_until = Some(timestamp(SystemClock.now().plus_millis(60_000)));
        Exported::drive(&house.kernel(), &house.patient(), &order).await.unwrap();
        let export = made(&house, &order.export_id).await;
        assert_eq!(export.state(), state, "{export:?}");
        let named = export.parts.iter().find(|part| part.source == "incidents").unwrap();
        assert_ne!((named.status(), named.reason.as_str()), (ExportPartStatus::Ok, ""));
        if state == ExportState::Failed {
            assert_eq!(export.failure_reason, "EXPORT_INCOMPLETE");
            assert_eq!(export.missing_required, ["sources.incidents"]);
        }
        let contract = house.contract("export", &order.export_id, 1).await;
        assert_eq!(
            (contract.state(), contract.audit_status()),
            (ContractState::Closed, AuditStatus::Incomplete)
        );
        house.tap.plan(Plan::Calm);
    }
}
