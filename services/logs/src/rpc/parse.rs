//! Requests become domain types; every violation of a call is told at once.

use contracts_common::common::v1::{GovernanceProfile, RunSource, RunStatus, TerminationReason};
use contracts_logs::v1 as pb;
use prost::Message;
use prost_types::Timestamp;
use runspine_errors::{Fault, Violations, mesh};
use runspine_logs_domain::trace::{Body, Item, item_of};
use runspine_types::{Digest, Micros, PageSize, PageToken, hash, is_uuid, is_uuid_v7};

use crate::{
    app::append_addendum::LATE_ITEMS,
    store::{records, traces},
};

/// Most items of one AppendRecords.
const MAX_ITEMS: usize = 256;
/// Most bytes of one AppendRecords.
const MAX_CALL: usize = 4 * 1024 * 1024;

/// A run id and an attempt that must exist.
pub fn attempt(run_id: &str, attempt: u32, found: &mut Violations) {
    found.require(is_uuid_v7(run_id), "run_id", "FIELD_INVALID", "is a UUIDv7");
    found.require(attempt >= 1, "attempt", "FIELD_INVALID", "is at least 1");
}

/// A run id, where attempt 0 stands for the latest or for all.
pub fn run(run_id: &str) -> Result<(), Fault> {
    let mut found = Violations::new();
    found.require(is_uuid_v7(run_id), "run_id", "FIELD_INVALID", "is a UUIDv7");
    found.into_result(&mesh::FIELD_INVALID)
}

/// The runs of a comparison.
pub fn compared(left: &str, right: &str) -> Result<(), Fault> {
    let mut found = Violations::new();
    found.require(is_uuid_v7(left), "left.run_id", "FIELD_INVALID", "is a UUIDv7");
    found.require(is_uuid_v7(right), "right.run_id", "FIELD_INVALID", "is a UUIDv7");
    found.into_result(&mesh::FIELD_INVALID)
}

fn chosen<E: TryFrom<i32>>(number: i32, field: &str, found: &mut Violations) {
    if number == 0 {
        found.add(field, "ENUM_UNSPECIFIED", "has to be set");
    } else if E::try_from(number).is_err() {
        found.add(field, "ENUM_UNKNOWN", "is not a value of this version");
    }
}

fn digest(bytes: &[u8], field: &str, found: &mut Violations) {
    found.require(matches!(bytes.len(), 0 | 32), field, "DIGEST_LENGTH", "is 32 bytes, or empty");
}

fn text(value: &str, most: usize, field: &str, found: &mut Violations) {
    found.require(value.len() <= most, field, "FIELD_INVALID", "is longer than the field can hold");
}

/// Words without what nobody may see.
pub fn words(given: &str) -> String {
    runspine_redact::text(given, runspine_redact::Keep::default()).into_owned()
}

/// A StartTrace.
pub fn start(r: &pb::StartTraceRequest) -> Result<(), Fault> {
    let mut found = Violations::new();
    attempt(&r.run_id, r.attempt, &mut found);
    found.require(
        (1..=128).contains(&r.agent_id.len()),
        "agent_id",
        "FIELD_INVALID",
        "is 1 to 128 bytes long",
    );
    chosen::<GovernanceProfile>(r.profile, "profile", &mut found);
    chosen::<RunSource>(r.source, "source", &mut found);
    digest(&r.policy_snapshot_digest, "policy_snapshot_digest", &mut found);
    digest(&r.governance_config_digest, "governance_config_digest", &mut found);
    digest(&r.plan_digest, "plan_digest", &mut found);
    found.require(
        r.inspection_allowed < 16,
        "inspection_allowed",
        "FIELD_INVALID",
        "has bits 1, 2, 4 and 8 only",
    );
    let external = r.external_trace_id.as_str();
    let hex =
        external.len() == 32 && external.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    found.require(
        external.is_empty() || hex,
        "external_trace_id",
        "FIELD_INVALID",
        "is 32 lower-case hex characters",
    );
    let parent = r.parent_run_id.is_empty() || is_uuid(&r.parent_run_id);
    found.require(parent, "parent_run_id", "FIELD_INVALID", "is a UUID");
    for (field, value) in [
        ("policy_snapshot_id", &r.policy_snapshot_id),
        ("governance_config_version", &r.governance_config_version),
        ("synthetic_scenario_id", &r.synthetic_scenario_id),
        ("project_id", &r.project_id),
    ] {
        text(value, 128, field, &mut found);
    }
    found.into_result(&mesh::FIELD_INVALID)
}

fn items(given: Vec<pb::RecordItem>, most: usize, found: &mut Violations) -> Vec<Item> {
    let count = given.len();
    let message = format!("are 1 to {most}");
    if !(1..=most).contains(&count) {
        found.add("items", "FIELD_INVALID", message);
        return Vec::new();
    }
    let bytes: usize = given.iter().map(Message::encoded_len).sum();
    found.require(bytes <= MAX_CALL, "items", "FIELD_INVALID", "are at most 4 MiB together");
    let numbered = given.into_iter().enumerate();
    numbered.filter_map(|(n, item)| item_of(item, &format!("items[{n}]"), found)).collect()
}

/// An AppendRecords.
pub fn append(r: pb::AppendRecordsRequest) -> Result<Vec<Item>, Fault> {
    let mut found = Violations::new();
    attempt(&r.run_id, r.attempt, &mut found);
    let items = items(r.items, MAX_ITEMS, &mut found);
    found.into_result(&mesh::FIELD_INVALID)?;
    Ok(items)
}

/// An AppendAddendum.
pub fn addendum(r: pb::AppendAddendumRequest) -> Result<Vec<Item>, Fault> {
    let mut found = Violations::new();
    found.require(is_uuid(&r.request_id), "request_id", "REQUEST_ID_REQUIRED", "is a UUID");
    attempt(&r.run_id, r.attempt, &mut found);
    found.require(
        (1..=1_024).contains(&r.reason.len()),
        "reason",
        "FIELD_INVALID",
        "is 1 to 1 024 bytes long",
    );
    let items = items(r.items, LATE_ITEMS, &mut found);
    let mut keys: Vec<&str> = items.iter().map(|item| item.idempotency_key.as_str()).collect();
    keys.sort_unstable();
    let unique = keys.windows(2).all(|pair| pair[0] != pair[1]);
    found.require(unique, "items", "FIELD_INVALID", "have each its own idempotency_key");
    found.into_result(&mesh::FIELD_INVALID)?;
    Ok(items)
}

/// A SealTrace.
pub fn seal(r: &pb::SealTraceRequest) -> Result<(), Fault> {
    let mut found = Violations::new();
    attempt(&r.run_id, r.attempt, &mut found);
    chosen::<RunStatus>(r.run_status, "run_status", &mut found);
    let terminal = [
        RunStatus::Succeeded,
        RunStatus::Failed,
        RunStatus::FailedPolicy,
        RunStatus::Cancelled,
        RunStatus::Retry,
    ];
    let ended = r.run_status == 0 || terminal.iter().any(|s| *s as i32 == r.run_status);
    found.require(ended, "run_status", "FIELD_INVALID", "is a terminal status");
    chosen::<TerminationReason>(r.termination_reason, "termination_reason", &mut found);
    text(&r.error_code, 64, "error_code", &mut found);
    text(&r.incomplete_reason, 1_024, "incomplete_reason", &mut found);
    let reasoned = r.accept_incomplete != r.incomplete_reason.is_empty();
    found.require(reasoned, "incomplete_reason", "FIELD_INVALID", "goes with accept_incomplete");
    found.into_result(&mesh::FIELD_INVALID)
}

/// A LinkIncident.
pub fn link(r: &pb::LinkIncidentRequest) -> Result<(), Fault> {
    let mut found = Violations::new();
    attempt(&r.run_id, r.attempt, &mut found);
    let named = (1..=128).contains(&r.incident_id.len());
    found.require(named, "incident_id", "FIELD_INVALID", "is 1 to 128 bytes long");
    found.into_result(&mesh::FIELD_INVALID)
}

fn time(at: Option<&Timestamp>) -> Option<Micros> {
    at.map(|t| Micros::from_timestamp(t.seconds, t.nanos))
}

/// What a page token is bound to: the request without its paging.
fn bound<M: Message>(unpaged: &M) -> Digest {
    hash(&unpaged.encode_to_vec())
}

fn token_fault(error: &runspine_types::PageTokenError) -> Fault {
    Fault::new(&mesh::PAGE_TOKEN_MISMATCH, error.to_string())
}

/// One page of a list: how many, and what the next token is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Rows on it.
    pub size: PageSize,
    query: Digest,
}

impl Page {
    /// Cuts the row off that was read to learn whether another page follows, and makes the next token of the last row.
    pub fn cut<T>(&self, rows: &mut Vec<T>, key: impl Fn(&T) -> Vec<String>) -> String {
        self.size.cut(rows, self.query, key)
    }
}

fn page(size: Option<PageSize>, query: Digest) -> Result<Page, Fault> {
    let negative = || {
        Fault::new(&mesh::FIELD_INVALID, "the page size is wrong").field(
            "page_size",
            "FIELD_INVALID",
            "is not negative",
        )
    };
    Ok(Page { size: size.ok_or_else(negative)?, query })
}

/// The two numbers that a token of a list carries.
fn numbers<A: std::str::FromStr, B: std::str::FromStr>(
    token: &str,
    query: Digest,
) -> Result<Option<(A, B)>, Fault> {
    let malformed = || token_fault(&runspine_types::PageTokenError::Malformed);
    let Some(key) = PageToken::decode(token, query).map_err(|e| token_fault(&e))? else { return Ok(None) };
    match key.as_slice() {
        [a, b] => match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) => Ok(Some((a, b))),
            _ => Err(malformed()),
        },
        _ => Err(malformed()),
    }
}

/// A ListTraces.
pub fn list_traces(r: pb::ListTracesRequest) -> Result<(traces::Filter, Option<bool>, Page), Fault> {
    let unpaged = pb::ListTracesRequest { page_size: 0, page_token: String::new(), ..r.clone() };
    let page = page(PageSize::of(r.page_size), bound(&unpaged))?;
    let filter = r.filter.unwrap_or_default();
    let mut found = Violations::new();
    found.require(filter.run_ids.len() <= 100, "filter.run_ids", "FIELD_INVALID", "are at most 100");
    digest(&filter.last_link, "filter.last_link", &mut found);
    let state = pb::TraceState::try_from(filter.state);
    found.require(state.is_ok(), "filter.state", "ENUM_UNKNOWN", "is not a value of this version");
    found.into_result(&mesh::FIELD_INVALID)?;
    let wanted = traces::Filter {
        agent_id: filter.agent_id,
        sealed: match state {
            Ok(pb::TraceState::Open) => Some(false),
            Ok(pb::TraceState::Sealed | pb::TraceState::Archived) => Some(true),
            _ => None,
        },
        run_ids: filter.run_ids,
        from: time(filter.started_from.as_ref()),
        to: time(filter.started_to.as_ref()),
        last_link: Digest::from_slice(&filter.last_link),
        incident_id: filter.incident_id,
        synthetic: filter.synthetic,
        after: numbers::<i64, i64>(&r.page_token, page.query)?.map(|(at, key)| (Micros(at), key)),
    };
    let archived = match state {
        Ok(pb::TraceState::Archived) => Some(true),
        Ok(pb::TraceState::Sealed) => Some(false),
        _ => None,
    };
    Ok((wanted, archived, page))
}

/// A ListRecords.
pub fn list_records(r: &pb::ListRecordsRequest) -> Result<(records::Filter, Page), Fault> {
    let unpaged = pb::ListRecordsRequest { page_size: 0, page_token: String::new(), ..r.clone() };
    let page = page(PageSize::within(r.page_size, 100, 1_000), bound(&unpaged))?;
    let mut found = Violations::new();
    found.require(is_uuid_v7(&r.run_id), "run_id", "FIELD_INVALID", "is a UUIDv7");
    let order = pb::RecordOrder::try_from(r.order);
    found.require(order.is_ok(), "order", "ENUM_UNKNOWN", "is not a value of this version");
    for body in &r.bodies {
        let known = Body::of_number(*body).is_some();
        found.require(known, "bodies", "ENUM_UNKNOWN", "are bodies of this version");
    }
    found.into_result(&mesh::FIELD_INVALID)?;
    let filter = records::Filter {
        after_position: r.after_position,
        bodies: r.bodies.clone(),
        by_start: order == Ok(pb::RecordOrder::StartedAt),
        after: numbers::<i64, u64>(&r.page_token, page.query)?.map(|(at, position)| (Micros(at), position)),
    };
    Ok((filter, page))
}

/// A GetReceipt.
pub fn receipt(r: &pb::GetReceiptRequest) -> Result<(), Fault> {
    let mut found = Violations::new();
    attempt(&r.run_id, r.attempt, &mut found);
    let keyed = (1..=128).contains(&r.idempotency_key.len());
    found.require(keyed, "idempotency_key", "FIELD_INVALID", "is 1 to 128 bytes long");
    found.into_result(&mesh::FIELD_INVALID)
}
