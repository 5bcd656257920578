//! Runs that allow this or that, and steps that bring payloads.

use contracts_logs::v1::{
    self as pb, inspection_service_client::InspectionServiceClient,
    payload_service_client::PayloadServiceClient, record_item::Body,
};
use runspine_rpc::Transport;
use runspine_testkit::{run, test_id};

use crate::traces::harness::{Answer, House, start, step};

pub const LOG_PROMPT: u32 = 1;
pub const LOG_RESPONSE: u32 = 2;
pub const CAPTURE_PII: u32 = 4;
pub const ACCESS_SECRET: u32 = 8;

pub fn payloads(house: &House) -> PayloadServiceClient<Transport> {
    PayloadServiceClient::new(house.way.clone())
}

/// Starts a run under `allowed`.
pub async fn begin(house: &House, number: u64, allowed: u32) -> pb::StartTraceResponse {
    house.declare(number, 1).await;
    house.start(pb::StartTraceRequest { inspection_allowed: allowed, ..start(number, 1) }).await.unwrap()
}

pub fn payload(direction: pb::PayloadDirection, content: impl AsRef<[u8]>) -> pb::Payload {
    pb::Payload {
        direction: direction.into(),
        media_type: "application/json".into(),
        content: content.as_ref().to_vec().into(),
        subject: String::new(),
    }
}

pub fn input(content: impl AsRef<[u8]>) -> pb::Payload {
    payload(pb::PayloadDirection::Input, content)
}

pub fn output(content: impl AsRef<[u8]>) -> pb::Payload {
    payload(pb::PayloadDirection::Output, content)
}

/// A step without a decision that brings `payloads`.
pub fn brings(index: u32, payloads: Vec<pb::Payload>) -> pb::RecordItem {
    pb::RecordItem { payloads, ..step(&format!("p{index}"), index, "") }
}

/// The references in the record at `position`.
pub async fn refs(house: &House, number: u64, position: u64) -> (bytes::Bytes, bytes::Bytes) {
    let asked = pb::ListRecordsRequest {
        run_id: run(number),
        after_position: position - 1,
        page_size: 1,
        ..Default::default()
    };
    let record = house.records(asked).await.unwrap().records.remove(0).record.unwrap();
    match record.body {
        Some(pb::trace_record::Body::Step(step)) => (step.input_ref, step.output_ref),
        other => panic!("{other:?} is no step"),
    }
}

pub async fn get(house: &House, reference: &bytes::Bytes) -> Answer<pb::GetPayloadResponse> {
    get_as(house, 1, reference).await
}

pub async fn get_as(house: &House, who: u64, reference: &bytes::Bytes) -> Answer<pb::GetPayloadResponse> {
    let asked = pb::GetPayloadRequest { r#ref: reference.clone() };
    let request = house.ask_as(who, "PayloadService/GetPayload", asked);
    payloads(house).get_payload(request).await.map(tonic::Response::into_inner)
}

pub fn erasing(number: u64) -> pb::ErasePayloadsRequest {
    pb::ErasePayloadsRequest {
        request_id: test_id(9, number),
        reason: "the person asked for it".into(),
        ..Default::default()
    }
}

pub async fn erase(house: &House, request: pb::ErasePayloadsRequest) -> Answer<pb::ErasePayloadsResponse> {
    let request = house.ask("PayloadService/ErasePayloads", request);
    payloads(house).erase_payloads(request).await.map(tonic::Response::into_inner)
}

pub async fn hold(house: &House, id: u64, number: u64, hold: bool) -> Answer<pb::SetLegalHoldResponse> {
    let order = pb::SetLegalHoldRequest {
        request_id: test_id(10, id),
        run_ids: vec![run(number)],
        hold,
        reason: "a case before the court".into(),
        ..Default::default()
    };
    order_hold(house, order).await
}

pub async fn order_hold(house: &House, order: pb::SetLegalHoldRequest) -> Answer<pb::SetLegalHoldResponse> {
    let request = house.ask("PayloadService/SetLegalHold", order);
    payloads(house).set_legal_hold(request).await.map(tonic::Response::into_inner)
}

pub async fn check(house: &House, asked: pb::CheckInspectionRequest) -> Answer<pb::CheckInspectionResponse> {
    let request = house.ask("InspectionService/CheckInspection", asked);
    let mut client = InspectionServiceClient::new(house.way.clone());
    client.check_inspection(request).await.map(tonic::Response::into_inner)
}

/// How many published events have this name.
pub async fn told(house: &House, name: &str) -> usize {
    house.published().await.iter().filter(|event| event.r#type == name).count()
}

/// The step of an item, to change it.
pub fn step_of(item: &mut pb::RecordItem) -> &mut pb::Step {
    match &mut item.body {
        Some(Body::Step(step)) => step,
        other => panic!("{other:?} is no step"),
    }
}
