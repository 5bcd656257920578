//! Lists.

use contracts_incidents::v1 as pb;
use runspine_errors::{Outcome, mesh};
use runspine_incidents_domain::{Category, CauseType, Severity, Status, Topic, Trigger};
use runspine_types::PageSize;

use super::Checks;
use crate::{
    app::ListQuery,
    rpc::digest_of,
    store::lists::{Filter, Order},
};

/// Incidents by filter.
///
/// # Errors
/// With every field that is wrong.
pub fn list(mut r: pb::ListIncidentsRequest) -> Outcome<ListQuery> {
    let mut c = Checks::default();
    let size = c.page_size(std::mem::take(&mut r.page_size));
    let page_token = std::mem::take(&mut r.page_token);
    // What is left names the list: the token of one list is of no use in another.
    let query = digest_of(&r);
    let order = match r.order {
        0 | 1 => Some(Order::OpenedDesc),
        2 => Some(Order::SeverityDesc),
        3 => Some(Order::LastOccurrenceDesc),
        4 => Some(Order::ResolvedDesc),
        _ => None,
    };
    c.require(order.is_some(), &mesh::ENUM_UNKNOWN, "order", "is not known");
    let filter = filter(&mut c, r.filter.unwrap_or_default());
    c.done(order.zip(size).map(|(order, size)| ListQuery { filter, order, size, page_token, query }))
}

/// A history.
///
/// # Errors
/// With every field that is wrong.
pub fn history(r: pb::ListIncidentEventsRequest) -> Outcome<(String, PageSize, String)> {
    let mut c = Checks::default();
    c.id("incident_id", &r.incident_id);
    let size = c.page_size(r.page_size);
    c.done(size.map(|size| (r.incident_id, size, r.page_token)))
}

/// The id of a run.
///
/// # Errors
/// When it is none.
pub fn run_id(id: String) -> Outcome<String> {
    let mut c = Checks::default();
    c.id("run_id", &id);
    c.done(Some(id))
}

fn filter(c: &mut Checks, f: pb::IncidentFilter) -> Filter {
    let topic = c.optional_word("filter.topic", f.topic, Topic::of);
    let stated = c.words("filter.statuses", &f.statuses, Status::of);
    let codes = |statuses: &[Status]| statuses.iter().map(|s| s.code()).collect::<Vec<_>>();
    let statuses = match topic {
        None => codes(&stated),
        Some(topic) if stated.is_empty() => codes(&topic.statuses()),
        // 0 is no state: a topic and states outside it have nothing in common.
        Some(topic) => {
            let both = codes(&stated.iter().copied().filter(|s| s.topic() == topic).collect::<Vec<_>>());
            if both.is_empty() { vec![0] } else { both }
        }
    };
    let few = f.cause_codes.len() <= 20;
    c.require(few, &mesh::FIELD_INVALID, "filter.cause_codes", "has more than 20 codes");
    c.optional_id("filter.run_id", &f.run_id);
    c.text("filter.signature", &f.signature, 64);
    Filter {
        statuses,
        severities: c
            .words("filter.severities", &f.severities, Severity::of)
            .iter()
            .map(|s| s.code())
            .collect(),
        categories: c
            .words("filter.categories", &f.categories, Category::of)
            .iter()
            .map(|s| s.code())
            .collect(),
        triggers: c.words("filter.triggers", &f.triggers, Trigger::of).iter().map(|s| s.code()).collect(),
        cause_codes: f.cause_codes,
        cause_type: c.optional_word("filter.cause_type", f.cause_type, CauseType::of),
        run_id: f.run_id,
        agent_id: f.agent_id,
        project_id: f.project_id,
        assignee: f.assignee,
        signature: f.signature,
        is_synthetic: f.is_synthetic,
        opened_from: c.time("filter.opened_from", f.opened_from.as_ref()),
        opened_to: c.time("filter.opened_to", f.opened_to.as_ref()),
        resolved_from: c.time("filter.resolved_from", f.resolved_from.as_ref()),
        resolved_to: c.time("filter.resolved_to", f.resolved_to.as_ref()),
    }
}
