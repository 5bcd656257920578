//! GetRunState: read at every step.

use std::sync::Arc;

use contracts_activity::v1::{GetRunStateRequest, GetRunStateResponse};
use contracts_common::common::v1::RunStatus;
use runspine_db::{AssertSqlSafe, args};
use runspine_errors::Outcome;

use crate::{
    app::{App, Who, cache::Known},
    rpc::present,
    store::{row::PauseRow, run, state},
};

pub(crate) async fn get(app: &App, who: &Who, request: &GetRunStateRequest) -> Outcome<GetRunStateResponse> {
    let (tenant, run_id, attempt) = (&who.tenant, &request.run_id, request.attempt);
    let known = match app.states.get(tenant, run_id, attempt) {
        Ok(known) => known,
        Err(seen) => {
            let known = Arc::new(read(app, tenant, run_id, attempt).await?);
            if let Some(seen) = seen {
                app.states.keep(tenant, run_id, attempt, &known, &seen);
            }
            known
        }
    };
    let mut state = known.state.clone();
    if request.with_start_input {
        state.start_input = run::start_input(app.db.read(), known.run_key).await?;
    }
    Ok(GetRunStateResponse { state: Some(state) })
}

async fn read(app: &App, tenant: &str, run_id: &str, attempt: u32) -> Outcome<Known> {
    let row = state::read(&app.db, tenant, run_id, attempt).await?;
    let pauses = if row.status == RunStatus::Paused as i32 {
        let sql = format!(
            "SELECT {} FROM pauses WHERE attempt_key = $1 AND cleared_at IS NULL ORDER BY pause_key",
            PauseRow::COLUMNS
        );
        app.db.read().fetch_all(AssertSqlSafe(sql), args![row.attempt_key]).await?
    } else {
        Vec::new()
    };
    Ok(Known { run_key: row.run_key, state: present::state(&row, &pauses) })
}
