//! Rows of `incidents`.

use runspine_db::{Args, AssertSqlSafe, DbError, Tx, args, row};
use runspine_incidents_domain::{
    Category, CauseType, CloseReason, ResolutionMethod, ResolutionType, Severity, Source, Status, Trigger,
    grouping::SIGNATURE_VERSION,
    incident::{Ending, Incident},
    outcome::Subject,
};
use runspine_types::Micros;

use super::{optional_word, word};

row! {
    /// An incident as stored.
    #[derive(Debug, Clone)]
    pub struct IncidentRow {
        id: String,
        tenant_id: String,
        seq: i64,
        project_id: String,
        title: String,
        description: String,
        severity: i32,
        category: i32,
        trigger_type: i32,
        source: i32,
        cause_type: i32,
        cause_code: String,
        status: i32,
        version: i64,
        event_count: i64,
        dedup_key: String,
        open_key: Option<String>,
        source_run_id: String,
        source_attempt: u32,
        source_step_index: Option<u32>,
        affected_agent_id: String,
        rule_id: String,
        scope_id: String,
        occurrence_count: i64,
        cost_impact_microusd: i64,
        error_message: String,
        opened_at: Micros,
        last_occurrence_at: Micros,
        acknowledged_at: Option<Micros>,
        acknowledged_by: String,
        resolved_at: Option<Micros>,
        resolved_by: String,
        resolution_method: Option<i32>,
        resolution_type: Option<i32>,
        resolution_summary: String,
        closed_reason: Option<i32>,
        assignee: String,
        recurrence_signature: String,
        signature_version: u32,
        tool_name: String,
        is_synthetic: bool,
        synthetic_scenario_id: String,
        aware_at: Option<Micros>,
        updated_at: Micros,
    }
}

impl TryFrom<IncidentRow> for Incident {
    type Error = DbError;

    fn try_from(row: IncidentRow) -> Result<Self, DbError> {
        let ending = ending(&row)?;
        Ok(Self {
            status: word(Status::of(row.status), "status")?,
            subject: Subject {
                trigger: word(Trigger::of(row.trigger_type), "trigger_type")?,
                source: word(Source::of(row.source), "source")?,
                cause_type: word(CauseType::of(row.cause_type), "cause_type")?,
                category: word(Category::of(row.category), "category")?,
                severity: word(Severity::of(row.severity), "severity")?,
                tenant_id: row.tenant_id,
                project_id: row.project_id,
                cause_code: row.cause_code,
                title: row.title,
                description: row.description,
                error_message: row.error_message,
                agent_id: row.affected_agent_id,
                rule_id: row.rule_id,
                scope_id: row.scope_id,
                tool_name: row.tool_name,
                synthetic: row.is_synthetic,
                synthetic_scenario_id: row.synthetic_scenario_id,
                aware_at: row.aware_at,
            },
            id: row.id,
            seq: row.seq,
            version: row.version,
            event_count: row.event_count,
            dedup_key: row.dedup_key,
            joinable: row.open_key.is_some(),
            source_run_id: row.source_run_id,
            source_attempt: row.source_attempt,
            source_step_index: row.source_step_index,
            occurrence_count: row.occurrence_count,
            cost_impact_microusd: row.cost_impact_microusd,
            opened_at: row.opened_at,
            last_occurrence_at: row.last_occurrence_at,
            acknowledged_at: row.acknowledged_at,
            acknowledged_by: row.acknowledged_by,
            ending,
            assignee: row.assignee,
            recurrence_signature: row.recurrence_signature,
            updated_at: row.updated_at,
        })
    }
}

fn ending(row: &IncidentRow) -> Result<Option<Ending>, DbError> {
    let Some(at) = row.resolved_at else {
        return Ok(None);
    };
    let method = optional_word(row.resolution_method, ResolutionMethod::of, "resolution_method")?;
    let kind = optional_word(row.resolution_type, ResolutionType::of, "resolution_type")?;
    Ok(Some(Ending {
        at,
        by: row.resolved_by.clone(),
        resolution: method.zip(kind),
        summary: row.resolution_summary.clone(),
        closed_reason: optional_word(row.closed_reason, CloseReason::of, "closed_reason")?,
    }))
}

/// The values of an incident in the order of [`IncidentRow::COLUMNS`].
fn values(incident: &Incident) -> Args {
    let s = &incident.subject;
    let mut row = args![
        &incident.id,
        &s.tenant_id,
        incident.seq,
        &s.project_id,
        &s.title,
        &s.description,
        s.severity.code(),
        s.category.code(),
        s.trigger.code(),
        s.source.code(),
        s.cause_type.code(),
        &s.cause_code,
        incident.status.code(),
        incident.version,
        incident.event_count,
        &incident.dedup_key,
        incident.joinable.then(|| incident.dedup_key.clone()),
        &incident.source_run_id,
        incident.source_attempt,
        incident.source_step_index,
        &s.agent_id,
        &s.rule_id,
        &s.scope_id,
        incident.occurrence_count,
        incident.cost_impact_microusd,
        &s.error_message,
        incident.opened_at,
        incident.last_occurrence_at,
        incident.acknowledged_at,
        &incident.acknowledged_by,
    ];
    row.extend(ending_values(incident.ending.as_ref()));
    row.extend(args![
        &incident.assignee,
        &incident.recurrence_signature,
        SIGNATURE_VERSION,
        &s.tool_name,
        s.synthetic,
        &s.synthetic_scenario_id,
        s.aware_at,
        incident.updated_at,
    ]);
    row
}

fn ending_values(ending: Option<&Ending>) -> Args {
    let resolution = ending.and_then(|e| e.resolution);
    args![
        ending.map(|e| e.at),
        ending.map(|e| e.by.clone()).unwrap_or_default(),
        resolution.map(|(method, _)| method.code()),
        resolution.map(|(_, kind)| kind.code()),
        ending.map(|e| e.summary.clone()).unwrap_or_default(),
        ending.and_then(|e| e.closed_reason).map(CloseReason::code),
    ]
}

/// A query for whole incidents; `tail` begins with `WHERE`.
pub(crate) fn select(tail: &str) -> AssertSqlSafe<String> {
    // Only constant texts of this crate reach this place; values are always arguments.
    AssertSqlSafe(format!("SELECT {} FROM incidents {tail}", IncidentRow::COLUMNS))
}

/// One incident of the tenant.
pub async fn find(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Incident>, DbError> {
    let row = tx.fetch_optional::<IncidentRow>(select("WHERE tenant_id = $1 AND id = $2"), args![tenant, id]);
    row.await?.map(Incident::try_from).transpose()
}

/// The newest incident of a grouping key that is not voided. Only this one can hold the open key.
pub async fn newest_of_key(tx: &mut Tx, tenant: &str, dedup_key: &str) -> Result<Option<Incident>, DbError> {
    let tail = "WHERE tenant_id = $1 AND dedup_key = $2 AND status <> 5 ORDER BY seq DESC LIMIT 1";
    let row = tx.fetch_optional::<IncidentRow>(select(tail), args![tenant, dedup_key]).await?;
    row.map(Incident::try_from).transpose()
}

/// The active violation incident of a rule in a run.
pub async fn violation_of_run(
    tx: &mut Tx,
    tenant: &str,
    rule_id: &str,
    run_id: &str,
) -> Result<Option<Incident>, DbError> {
    let tail = "WHERE tenant_id = $1 AND rule_id = $2 AND scope_id = $3 AND trigger_type = 2 \
                AND status IN (1, 2) ORDER BY seq DESC LIMIT 1";
    let row = tx.fetch_optional::<IncidentRow>(select(tail), args![tenant, rule_id, run_id]).await?;
    row.map(Incident::try_from).transpose()
}

/// Active RUN_FAILURE incidents whose live occurrences are all attempts of this run before `attempt`.
pub async fn recovered_by(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Vec<Incident>, DbError> {
    let tail = "WHERE tenant_id = $1 AND trigger_type = 1 AND status IN (1, 2) AND id IN \
                (SELECT incident_id FROM incident_occurrences WHERE tenant_id = $1 AND run_id = $2 AND attempt < $3) \
                AND occurrence_count > 0 AND occurrence_count = (SELECT COUNT(*) FROM incident_occurrences o \
                WHERE o.tenant_id = $1 AND o.incident_id = incidents.id AND o.run_id = $2 AND o.attempt < $3 \
                AND NOT EXISTS (SELECT 1 FROM occurrence_voids v WHERE v.tenant_id = o.tenant_id \
                AND v.run_id = o.run_id AND v.attempt = o.attempt AND v.occurrence_id = o.id)) ORDER BY seq";
    let rows = tx.fetch_all::<IncidentRow>(select(tail), args![tenant, run_id, attempt]).await?;
    rows.into_iter().map(Incident::try_from).collect()
}

/// Adds a new incident; `false` when another one took the open key first.
pub async fn insert(tx: &mut Tx, incident: &Incident) -> Result<bool, DbError> {
    let columns: Vec<&str> = IncidentRow::COLUMNS.split(", ").collect();
    let conflict = "ON CONFLICT (tenant_id, open_key) DO NOTHING";
    Ok(tx.insert_rows("incidents", &columns, vec![values(incident)], conflict).await? == 1)
}

/// Writes what can change of an incident; `false` when it is not at `from_version` any more.
pub async fn update(tx: &mut Tx, incident: &Incident, from_version: i64) -> Result<bool, DbError> {
    let sql = "UPDATE incidents SET title = $4, severity = $5, status = $6, version = $7, event_count = $8, \
               open_key = $9, occurrence_count = $10, cost_impact_microusd = $11, last_occurrence_at = $12, \
               acknowledged_at = $13, acknowledged_by = $14, assignee = $15, updated_at = $16, resolved_at = $17, \
               resolved_by = $18, resolution_method = $19, resolution_type = $20, resolution_summary = $21, \
               closed_reason = $22 WHERE tenant_id = $1 AND id = $2 AND version = $3";
    let s = &incident.subject;
    let mut row = args![
        &s.tenant_id,
        &incident.id,
        from_version,
        &s.title,
        s.severity.code(),
        incident.status.code(),
        incident.version,
        incident.event_count,
        incident.joinable.then(|| incident.dedup_key.clone()),
        incident.occurrence_count,
        incident.cost_impact_microusd,
        incident.last_occurrence_at,
        incident.acknowledged_at,
        &incident.acknowledged_by,
        &incident.assignee,
        incident.updated_at,
    ];
    row.extend(ending_values(incident.ending.as_ref()));
    Ok(tx.execute(sql, row).await? == 1)
}

/// Lets no further report join by this key: its window has expired.
pub async fn release_key(tx: &mut Tx, tenant: &str, dedup_key: &str) -> Result<(), DbError> {
    let sql = "UPDATE incidents SET open_key = NULL WHERE tenant_id = $1 AND open_key = $2";
    tx.execute(sql, args![tenant, dedup_key]).await?;
    Ok(())
}
