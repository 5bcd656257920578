//! Exports of incidents: the saga as every saga is tested, and what it leaves with incidents and in the file.

use contracts_common::common::v1::{Actor, ActorType};
use contracts_incidents::v1::{
    Category, CreateIncidentRequest, CreateIncidentResponse, GetIncidentExportRequest,
    GetIncidentExportResponse, IncidentExport, IncidentExportState, ListIncidentExportsRequest,
    ListIncidentExportsResponse, Severity,
};
use contracts_logs::v1::{
    DownloadExportRequest, DownloadExportResponse, ExportFormat, ExportScope, ListExportsRequest,
    ListExportsResponse,
};
use contracts_spine::v1::{ExportIncidentRequest, ExportIncidentResponse, IncidentExportPromise};
use runspine_types::hash;

use super::*;

const EVIDENCE: i32 = 1;
const SOC2: i32 = 2;
const EXECUTIVE: i32 = 3;

/// An incident of its own about a run that failed and is over: what the mesh reports is grouped with the runs before.
async fn incident(house: &House) -> String {
    let ended = Ended::before(house, 1).await;
    finish::<Completion>(house, &ended).await;
    let open = CreateIncidentRequest {
        title: "the tool broke".to_owned(),
        severity: Severity::High.into(),
        category: Category::ExecutionFailure.into(),
        run_ids: vec![ended.run_id],
        request_id: new_id(),
        ..Default::default()
    };
    let opened: CreateIncidentResponse = house.ask("incidents.v1.IncidentService/CreateIncident", open).await;
    opened.incident.unwrap().incident_id
}

fn promised(incident_id: &str, kind: i32) -> IncidentExportPromise {
    IncidentExportPromise {
        export_id: new_id(),
        incident_id: incident_id.to_owned(),
        kind,
        format: ExportFormat::Json.into(),
        reason: "asked for by the auditor".to_owned(),
        actor: Some(Actor { r#type: ActorType::Human.into(), id: "ada".to_owned() }),
    }
}

async fn exported(house: &House, export_id: &str) -> IncidentExport {
    let get = GetIncidentExportRequest { export_id: export_id.to_owned() };
    let found: GetIncidentExportResponse =
        house.ask("incidents.v1.IncidentExportService/GetIncidentExport", get).await;
    let export = found.export.unwrap();
    assert_eq!(hash(&found.part).to_vec(), export.part_digest);
    export
}

/// The file, or the first 64 KiB of it.
async fn content(house: &House, export: &IncidentExport) -> String {
    let download =
        DownloadExportRequest { request_id: new_id(), export_id: export.content_export_id.clone() };
    let piece: DownloadExportResponse = house.ask("logs.v1.ExportService/DownloadExport", download).await;
    if export.content_size <= 64 * 1024 {
        assert_eq!(hash(&piece.chunk).to_vec(), export.content_digest, "over all content bytes");
    }
    String::from_utf8(piece.chunk.to_vec()).unwrap()
}

impl Saga for IncidentExported {
    type Subject = IncidentExportPromise;
    /// Declared, read, frozen, noted, ordered; the seventeen of the saga `export`; looked at, told, noted, judged.
    const CALLS: usize = 22;

    async fn before(house: &House) -> IncidentExportPromise {
        promised(&incident(house).await, EVIDENCE)
    }

    async fn drive(kernel: &Kernel, context: &Context, order: &IncidentExportPromise) -> Result<(), String> {
        match kernel.incident_export_ordered(context, order).await.map_err(|fault| fault.to_string())? {
            Driven::Done(_) => Ok(()),
            open => Err(format!("{open:?}")),
        }
    }

    async fn check(house: &House, order: &IncidentExportPromise) {
        let contract = house.contract("incident_export", &order.export_id, 1).await;
        let stands = (contract.state(), contract.audit_status());
        assert_eq!(stands, (ContractState::Closed, AuditStatus::Complete), "{contract:?}");
        let export = exported(house, &order.export_id).await;
        assert_eq!(export.state(), IncidentExportState::Completed, "{export:?}");
        assert_eq!(export.attempts.len(), 1);
        let run_id = export.attempts[0].run_id.clone();
        let list = ListExportsRequest { scope: ExportScope::Incident.into(), run_id, ..Default::default() };
        let found: ListExportsResponse = house.ask("logs.v1.ExportService/ListExports", list).await;
        let [content] = found.exports.as_slice() else { panic!("{:?}", found.exports) };
        assert_eq!((&content.export_id, content.parts.len()), (&export.content_export_id, 4));
        assert_eq!(content.content_digest, export.content_digest);
        let list =
            ListIncidentExportsRequest { incident_id: order.incident_id.clone(), ..Default::default() };
        let found: ListIncidentExportsResponse =
            house.ask("incidents.v1.IncidentExportService/ListIncidentExports", list).await;
        assert_eq!(found.exports.len(), 1, "whatever happened to it");
    }
}

/// What the file says, kind by kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_says_what_it_is_for() {
    let house = House::open().await;
    let incident_id = incident(&house).await;
    for kind in [EVIDENCE, SOC2, EXECUTIVE] {
        let order = promised(&incident_id, kind);
        house.tap.plan(Plan::Calm);
        IncidentExported::drive(&house.kernel(), &house.patient(), &order).await.unwrap();
        let export = exported(&house, &order.export_id).await;
        assert_eq!(export.state(), IncidentExportState::Completed, "{export:?}");
        let text = content(&house, &export).await;
        assert!(text.contains(&incident_id), "{text}");
        assert_eq!(text.contains("attestation_statement"), kind == SOC2, "{text}");
        assert_eq!(text.contains("agrees with seal"), kind == SOC2, "{text}");
        assert_eq!(text.contains("runspine.incidents.v1.IncidentExportPart"), kind != EXECUTIVE, "{text}");
        assert_eq!(text.contains("\"proof\": \"VERIFIED\""), kind != EXECUTIVE, "{text}");
        if kind == EXECUTIVE {
            assert!(text.contains("occurrences in 1 attempts"), "{text}");
        }
    }
}

/// Evidence of an attempt that goes on is no evidence: the export is given up with its reason. A page names the attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_made_is_given_up_with_its_reason() {
    let house = House::open().await;
    let violation = Violated::before(&house).await;
    finish::<Violated>(&house, &violation).await;
    let incident = incidents(&house, &violation.run_id, TriggerType::PolicyViolation).await.remove(0);
    let order = promised(&incident.incident_id, EVIDENCE);
    for again in [false, true] {
        IncidentExported::drive(&house.kernel(), &house.patient(), &order).await.unwrap();
        let export = exported(&house, &order.export_id).await;
        let why = (export.state(), export.failure_reason.as_str());
        assert_eq!(why, (IncidentExportState::Failed, "NOT_SEALED"), "{again}");
        assert!(export.missing[0].contains(&violation.run_id), "{:?}", export.missing);
        let contract = house.contract("incident_export", &order.export_id, 1).await;
        let stands = (contract.state(), contract.audit_status());
        assert_eq!(stands, (ContractState::Closed, AuditStatus::Incomplete), "for ever");
    }
    let page = promised(&incident.incident_id, EXECUTIVE);
    IncidentExported::drive(&house.kernel(), &house.patient(), &page).await.unwrap();
    let export = exported(&house, &page.export_id).await;
    assert_eq!(export.state(), IncidentExportState::Completed, "{export:?}");
    let text = content(&house, &export).await;
    assert!(text.contains("open_attempts") && text.contains(&format!("{}/1", violation.run_id)), "{text}");
}

/// Through the door: one key is one export, another order under it is refused, and an incident that nobody knows orders
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_export() {
    const EXPORT: &str = "spine.v1.IncidentExportService/ExportIncident";
    let house = House::open().await;
    let incident_id = incident(&house).await;
    let ask = ExportIncidentRequest {
        request_id: new_id(),
        incident_id: incident_id.clone(),
        report: EVIDENCE,
        reason: "asked for by the auditor".to_owned(),
        ..Default::default()
    };
    let first: ExportIncidentResponse = house.ask(EXPORT, ask.clone()).await;
    let second: ExportIncidentResponse = house.ask(EXPORT, ask.clone()).await;
    assert_eq!((&first, first.refusal_reason.as_str()), (&second, ""));
    until_ok(Duration::from_secs(60), || async {
        // Nobody else goes on with it here.
        let _: ExportIncidentResponse = house.ask(EXPORT, ask.clone()).await;
        let export = exported(&house, &first.export_id).await;
        let made = export.state() == IncidentExportState::Completed && export.exported_by == "ada";
        if made { Ok(()) } else { Err(export) }
    })
    .await;
    let other = ExportIncidentRequest { report: EXECUTIVE, ..ask.clone() };
    let refused = house.refuse::<_, ExportIncidentResponse>(EXPORT, other).await;
    assert_eq!(refused, "IDEMPOTENCY_MISMATCH");
    for wrong in [
        ExportIncidentRequest { incident_id: new_id(), request_id: new_id(), ..ask.clone() },
        ExportIncidentRequest { report: 9, ..ask.clone() },
        ExportIncidentRequest { format: 3, ..ask.clone() },
        ExportIncidentRequest { request_id: String::new(), ..ask },
    ] {
        assert_eq!(house.refuse::<_, ExportIncidentResponse>(EXPORT, wrong).await, "FIELD_INVALID");
    }
    let list = ListIncidentExportsRequest { incident_id, ..Default::default() };
    let found: ListIncidentExportsResponse =
        house.ask("incidents.v1.IncidentExportService/ListIncidentExports", list).await;
    assert_eq!(found.exports.len(), 1);
}

/// What incidents refuse to freeze is no export: the promise is closed, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_frozen_is_closed() {
    let house = House::open().await;
    let order = promised(&new_id(), EVIDENCE);
    IncidentExported::drive(&house.kernel(), &house.patient(), &order).await.unwrap();
    let contract = house.contract("incident_export", &order.export_id, 1).await;
    let stands = (contract.state(), contract.audit_status());
    assert_eq!(stands, (ContractState::Closed, AuditStatus::Incomplete));
    assert!(contract.acks.iter().any(|ack| ack.error_reason == "INCIDENT_NOT_FOUND"), "{:?}", contract.acks);
}
