//! ListRuns, GetRunView, CountRuns.

use std::collections::BTreeMap;

use contracts_activity::v1::{
    CountRunsRequest, CountRunsResponse, GetRunViewRequest, GetRunViewResponse, ListRunsRequest,
    ListRunsResponse, RunFilter, RunSort, StateCount, StatusCount,
};
use prost::Message as _;
use runspine_activity_domain::reasons;
use runspine_db::{AssertSqlSafe, args};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Hasher, PageSize, PageToken};

use crate::{
    app::{App, Who},
    rpc::present,
    store::{
        lease,
        list::{self, Where},
        row::{LeaseRow, PauseRow, StateRow, TransitionRow},
    },
};

/// A list says how long it is up to here.
const COUNTED: i64 = 10_000;
/// The view of a run shows so many transitions, the last ones.
const TRANSITIONS: i64 = 1_000;

pub(crate) async fn list_runs(app: &App, who: &Who, request: ListRunsRequest) -> Outcome<ListRunsResponse> {
    let filter = request.filter.unwrap_or_default();
    let sort = RunSort::try_from(request.sort)
        .map_err(|_| Fault::new(&reasons::SORT_KEY_UNKNOWN, "there is no such order of runs"))?;
    let size = PageSize::of(request.page_size)
        .ok_or_else(|| Fault::new(&mesh::FIELD_INVALID, "page_size is negative"))?;
    let query = query_digest(&filter, sort);
    let after = position(&request.page_token, query)?;
    let now = app.clock.now();
    let mut read = app.db.read().snapshot().await?;
    let selected = Where::new(&who.tenant, &filter, now);
    let mut rows = selected.page(&mut read, list::order(sort), after, size.probe()).await?;
    let total_estimate = Where::new(&who.tenant, &filter, now).count(&mut read, COUNTED).await?;
    let next_page_token =
        size.cut(&mut rows, query, |last| vec![last.key.to_string(), last.run.run_id.clone()]);
    Ok(ListRunsResponse {
        runs: rows.iter().map(|row| present::run(&row.run, now)).collect(),
        next_page_token,
        total_estimate,
        as_of: Some(timestamp(now)),
    })
}

fn query_digest(filter: &RunFilter, sort: RunSort) -> Digest {
    Hasher::new("runspine.list_runs.v1")
        .sized(&filter.encode_to_vec())
        .fixed(&(sort as i32).to_be_bytes())
        .finish()
}

fn position(token: &str, query: Digest) -> Outcome<Option<(i64, String)>> {
    let refused = |text: String| Fault::new(&mesh::PAGE_TOKEN_MISMATCH, text);
    let Some(key) = PageToken::decode(token, query).map_err(|error| refused(error.to_string()))? else {
        return Ok(None);
    };
    match key.as_slice() {
        [key, run_id] => match key.parse() {
            Ok(key) => Ok(Some((key, run_id.clone()))),
            Err(_) => Err(refused("the page token is malformed".to_owned())),
        },
        _ => Err(refused("the page token is malformed".to_owned())),
    }
}

pub(crate) async fn count_runs(
    app: &App,
    who: &Who,
    request: CountRunsRequest,
) -> Outcome<CountRunsResponse> {
    let now = app.clock.now();
    let mut read = app.db.read().snapshot().await?;
    let filter = request.filter.unwrap_or_default();
    let groups = Where::new(&who.tenant, &filter, now).groups(&mut read).await?;
    let (mut states, mut statuses) = (BTreeMap::new(), BTreeMap::new());
    for (state, status, count) in groups {
        *states.entry(state).or_insert(0) += count;
        *statuses.entry(status).or_insert(0) += count;
    }
    Ok(CountRunsResponse {
        total: states.values().sum(),
        statuses: statuses.into_iter().map(|(status, count)| StatusCount { status, count }).collect(),
        states: states.into_iter().map(|(state, count)| StateCount { state, count }).collect(),
        as_of: Some(timestamp(now)),
    })
}

pub(crate) async fn get_run_view(
    app: &App,
    who: &Who,
    request: GetRunViewRequest,
) -> Outcome<GetRunViewResponse> {
    let now = app.clock.now();
    let mut read = app.db.read().snapshot().await?;
    let run = list::run(&mut read, &who.tenant, &request.run_id)
        .await?
        .ok_or_else(|| Fault::new(&reasons::RUN_NOT_FOUND, "there is no such run"))?;
    let run_id = &run.run_id;
    let attempts = list::attempts(&mut read, run.run_key).await?;
    let limits = list::limits(&mut read, run.run_key).await?;
    let sql = format!(
        "SELECT {0} FROM (SELECT {0} FROM run_transitions WHERE run_key = $1 ORDER BY attempt DESC, sequence DESC \
         LIMIT $2) latest ORDER BY attempt, sequence",
        TransitionRow::COLUMNS
    );
    let transitions: Vec<TransitionRow> =
        read.fetch_all(AssertSqlSafe(sql), args![run.run_key, TRANSITIONS]).await?;
    let of_run = "attempt_key IN (SELECT attempt_key FROM run_attempts WHERE run_key = $1)";
    let sql = format!("SELECT {} FROM pauses WHERE {of_run} ORDER BY pause_key", PauseRow::COLUMNS);
    let pauses: Vec<PauseRow> = read.fetch_all(AssertSqlSafe(sql), args![run.run_key]).await?;
    let sql = format!("SELECT {} FROM v_states WHERE run_key = $1 ORDER BY attempt", StateRow::COLUMNS);
    let states: Vec<StateRow> = read.fetch_all(AssertSqlSafe(sql), args![run.run_key]).await?;
    let sql = format!(
        "SELECT {} FROM leases WHERE attempt_key = (SELECT latest_attempt_key FROM runs WHERE run_key = $1)",
        LeaseRow::COLUMNS
    );
    let held = read.fetch_one::<LeaseRow>(AssertSqlSafe(sql), args![run.run_key]).await?.lease();
    Ok(GetRunViewResponse {
        attempts: attempts.iter().map(|a| present::attempt(run_id, a)).collect(),
        transitions: transitions.iter().map(|t| present::transition(run_id, t)).collect(),
        pauses: pauses.iter().map(present::pause).collect(),
        stops: states.iter().filter_map(present::stop).collect(),
        lease: lease::shown(&held).map(present::lease),
        lease_suspended: held.suspended,
        run: Some(present::run(&run, now)),
        limits: limits.iter().map(present::limit).collect(),
        as_of: Some(timestamp(now)),
    })
}
