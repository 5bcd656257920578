//! Signals and what became of breaches: written with the transaction that found them, and read.

use contracts_controls::v1 as pb;
use runspine_controls_domain::limit::Key;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{
    desk::Desk,
    events::{About, publish},
    views::Where,
};
use crate::app::records::{Caller, NewSignal};

const COLUMNS: [&str; 14] = [
    "signal_id",
    "tenant_id",
    "run_key",
    "type",
    "source",
    "level",
    "window_start",
    "metric",
    "unit",
    "current",
    "limit_value",
    "permille",
    "step_index",
    "raised_at",
];

runspine_db::row! {
    /// A signal that was not known before.
    #[derive(Debug)]
    struct FreshSignal {
        signal_id: String,
    }
}

impl Desk<'_> {
    /// Notes a signal; of equal ones the first stays.
    pub fn signal(&mut self, signal: NewSignal) {
        let same = |s: &NewSignal| {
            (s.run, s.kind, s.level, s.window) == (signal.run, signal.kind, signal.level, signal.window)
                && s.source == signal.source
        };
        if !self.signals.iter().any(same) {
            self.signals.push(signal);
        }
    }

    pub(super) async fn flush_signals(&mut self) -> Result<(), DbError> {
        let found = std::mem::take(&mut self.signals);
        let found: Vec<(String, String, NewSignal)> = found
            .into_iter()
            .filter_map(|s| {
                let tenant = self.run_by_key(s.run).map(|r| r.tenant_id.clone()).or_else(|| s.tenant.clone());
                Some((new_id(), tenant?, s))
            })
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        let rows: Vec<Args> = found
            .iter()
            .map(|(id, tenant, s)| {
                args![
                    id,
                    tenant,
                    s.run,
                    s.kind.code(),
                    &s.source,
                    s.level.code(),
                    s.window,
                    &s.metric,
                    s.unit.code(),
                    s.current,
                    s.limit_value,
                    s.permille,
                    s.step,
                    s.at
                ]
            })
            .collect();
        let fresh: Vec<FreshSignal> = self
            .tx
            .insert_rows_returning("signals", &COLUMNS, rows, "ON CONFLICT DO NOTHING", FreshSignal::COLUMNS)
            .await?;
        for (id, tenant, signal) in found.iter().filter(|(id, ..)| fresh.iter().any(|f| f.signal_id == *id)) {
            self.publish_signal(id, tenant, signal);
        }
        Ok(())
    }

    fn publish_signal(&mut self, id: &str, tenant: &str, signal: &NewSignal) {
        let mut about = self.about_run(signal.run, "signal", id.to_owned());
        about.step_index = signal.step;
        about.reason = signal.kind.name().to_owned();
        let data = pb::SignalRaised {
            signal: Some(pb::Signal {
                signal_id: id.to_owned(),
                run_id: about.run_id.clone(),
                attempt: about.attempt,
                r#type: signal.kind.code(),
                source: signal.source.clone(),
                level: signal.level.code(),
                metric: signal.metric.clone(),
                unit: signal.unit.code(),
                current: signal.current,
                limit_value: signal.limit_value,
                proximity_permille: signal.permille,
                step_index: signal.step,
                at: Some(timestamp(signal.at)),
            }),
        };
        publish(self.tx, &Caller::mesh(tenant), "SignalRaised", about, &data, signal.at);
    }

    /// Says of every open breach of a run that it is over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recover_run(&mut self, run: Key, now: Micros) -> Result<(), DbError> {
        let open: Vec<(String,)> = self
            .tx
            .fetch_all(
                "SELECT breach_id FROM breaches WHERE run_key = $1 AND breach_id NOT IN \
                 (SELECT breach_id FROM breach_recoveries) ORDER BY breach_id",
                args![run],
            )
            .await?;
        self.recover(open.into_iter().map(|b| b.0).collect(), "RUN_ENDED", now).await
    }

    /// Says of the open breaches of a period that they are over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recover_period(
        &mut self,
        (envelope, start): (Key, Micros),
        cause: &'static str,
        now: Micros,
    ) -> Result<(), DbError> {
        let open: Vec<(String,)> = self
            .tx
            .fetch_all(
                "SELECT breach_id FROM breaches WHERE envelope_key = $1 AND period_start = $2 AND breach_id NOT IN \
                 (SELECT breach_id FROM breach_recoveries) ORDER BY breach_id",
                args![envelope, start],
            )
            .await?;
        self.recover(open.into_iter().map(|b| b.0).collect(), cause, now).await
    }

    async fn tenant_of_breach(&mut self, id: &str) -> Result<String, DbError> {
        let sql = "SELECT tenant_id FROM breaches WHERE breach_id = $1";
        Ok(self.tx.fetch_one::<(String,)>(sql, args![id]).await?.0)
    }

    async fn recover(
        &mut self,
        breaches: Vec<String>,
        cause: &'static str,
        now: Micros,
    ) -> Result<(), DbError> {
        let rows: Vec<Args> = breaches.iter().map(|id| args![id, cause, now]).collect();
        let columns = ["breach_id", "cause", "recovered_at"];
        self.insert("breach_recoveries", &columns, rows, "ON CONFLICT DO NOTHING").await?;
        for id in breaches {
            let tenant = self.tenant_of_breach(&id).await?;
            let about = About {
                entity_type: "breach",
                entity_id: id.clone(),
                reason: cause.to_owned(),
                ..About::default()
            };
            let data = pb::LimitRecovered { breach_id: id, cause: cause.to_owned() };
            publish(self.tx, &Caller::mesh(&tenant), "LimitRecovered", about, &data, now);
        }
        Ok(())
    }
}

runspine_db::row! {
    /// A signal, with the run that it is about.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct SignalRow {
        pub signal_key: i64,
        pub signal_id: String,
        pub run_id: Option<String>,
        pub attempt: Option<u32>,
        pub kind: i32,
        pub source: String,
        pub level: i32,
        pub metric: String,
        pub unit: i32,
        pub current: i64,
        pub limit_value: i64,
        pub permille: i64,
        pub step_index: Option<u32>,
        pub raised_at: Micros,
    }
}

/// What a list of signals or breaches is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct FoundFilter {
    /// Of one run.
    pub run_id: Option<String>,
    /// Of one limit.
    pub limit_id: Option<String>,
    /// Of these types.
    pub types: Vec<i32>,
    /// Of these levels; signals only.
    pub levels: Vec<i32>,
    /// From this time.
    pub since: Option<Micros>,
    /// Before this time.
    pub until: Option<Micros>,
    /// At most so many.
    pub limit: i64,
}

/// Signals of a tenant, oldest first, behind a key.
///
/// # Errors
/// When the store fails.
pub async fn signals(
    read: &Read,
    tenant: &str,
    filter: &FoundFilter,
    after: i64,
) -> Result<Vec<SignalRow>, DbError> {
    let mut when = Where::new("s.tenant_id = $1 AND s.signal_key > $2", args![tenant, after]);
    when.and("r.run_id = ?", filter.run_id.as_ref());
    when.and("s.source = ?", filter.limit_id.as_ref());
    when.one_of("s.type", &filter.types);
    when.one_of("s.level", &filter.levels);
    when.and("s.raised_at >= ?", filter.since);
    when.and("s.raised_at < ?", filter.until);
    let most = when.place(filter.limit);
    let sql = format!(
        "SELECT s.signal_key, s.signal_id, r.run_id, r.attempt, s.type AS kind, s.source, s.level, s.metric, s.unit, \
         s.current, s.limit_value, s.permille, s.step_index, s.raised_at FROM signals s \
         LEFT JOIN run_leases r ON r.run_key = s.run_key WHERE {} ORDER BY s.signal_key LIMIT {most}",
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

runspine_db::row! {
    /// A breach with everything that became of it.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct FoundBreach {
        pub breach_id: String,
        pub limit_id: String,
        pub spec: bytes::Bytes,
        pub envelope_id: String,
        pub run_id: Option<String>,
        pub attempt: Option<u32>,
        pub step_index: Option<u32>,
        pub kind: i32,
        pub value: i64,
        pub limit_value: i64,
        pub breached_at: Micros,
        pub recovered_at: Option<Micros>,
        pub cause: Option<String>,
        pub incident_id: Option<String>,
        pub override_id: Option<String>,
        pub scope_id: String,
    }
}

/// Breaches of a tenant in the order of their ids, which is that of their times, behind an id.
///
/// # Errors
/// When the store fails.
pub async fn breaches(
    read: &Read,
    tenant: &str,
    filter: &FoundFilter,
    after: &str,
) -> Result<Vec<FoundBreach>, DbError> {
    let mut when = Where::new("b.tenant_id = $1 AND b.breach_id > $2", args![tenant, after]);
    when.and("r.run_id = ?", filter.run_id.as_ref());
    when.and("l.limit_id = ?", filter.limit_id.as_ref());
    when.one_of("b.type", &filter.types);
    when.and("b.breached_at >= ?", filter.since);
    when.and("b.breached_at < ?", filter.until);
    let most = when.place(filter.limit);
    let sql = format!(
        "SELECT b.breach_id, l.limit_id, l.spec, e.envelope_id, r.run_id, r.attempt, b.step_index, b.type AS kind, \
         b.value, b.limit_value, b.breached_at, c.recovered_at, c.cause, i.incident_id, b.override_id, e.scope_id FROM breaches b \
         JOIN envelopes e ON e.envelope_key = b.envelope_key JOIN limits l ON l.limit_key = e.limit_key \
         LEFT JOIN run_leases r ON r.run_key = b.run_key \
         LEFT JOIN breach_recoveries c ON c.breach_id = b.breach_id \
         LEFT JOIN breach_incidents i ON i.breach_id = b.breach_id \
         WHERE {} ORDER BY b.breach_id LIMIT {most}",
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

/// Notes the incident of a breach, and answers with the one that it has; none: no such breach.
///
/// # Errors
/// When the store fails.
pub async fn link(
    tx: &mut Tx,
    tenant: &str,
    breach_id: &str,
    incident_id: &str,
    now: Micros,
) -> Result<Option<String>, DbError> {
    let sql = "SELECT breach_id FROM breaches WHERE tenant_id = $1 AND breach_id = $2";
    if tx.fetch_optional::<(String,)>(sql, args![tenant, breach_id]).await?.is_none() {
        return Ok(None);
    }
    let row = args![breach_id, incident_id, now];
    let columns = ["breach_id", "incident_id", "linked_at"];
    tx.insert_rows("breach_incidents", &columns, vec![row], "ON CONFLICT DO NOTHING").await?;
    let sql = "SELECT incident_id FROM breach_incidents WHERE breach_id = $1";
    Ok(tx.fetch_optional::<(String,)>(sql, args![breach_id]).await?.map(|row| row.0))
}
