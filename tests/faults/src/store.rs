//! What the five stores hold, read without the mesh.

use std::{path::Path, time::Duration};

use runspine_e2e::Mesh;
use rusqlite::{Connection, OpenFlags};
use tokio::time::{Instant, sleep};

/// All stores of a data folder in one read-only connection: tables are named `<domain>.<table>`.
pub struct Store(Connection);

/// What no store may hold once every run has ended: what it is, and a query that counts it.
const NEVER: [(&str, &str); 13] = [
    ("an attempt that has not ended", "SELECT COUNT(*) FROM activity.run_attempts WHERE phase NOT IN (6, 7)"),
    ("an open contract", "SELECT COUNT(*) FROM logs.contract_index WHERE state <> 2"),
    ("a parked contract", "SELECT COUNT(*) FROM logs.contract_index WHERE parked <> 0"),
    ("an active hold", "SELECT COUNT(*) FROM controls.holds WHERE state = 1"),
    ("an open allocation", "SELECT COUNT(*) FROM controls.allocations WHERE open = 1"),
    (
        "an admitted run without a settlement",
        "SELECT COUNT(*) FROM controls.run_leases l \
         LEFT JOIN controls.settlements s ON s.run_key = l.run_key WHERE s.run_key IS NULL",
    ),
    ("a trace without a seal", "SELECT COUNT(*) FROM logs.trace_heads WHERE sealed = 0"),
    (
        "a contract without a run",
        "SELECT COUNT(*) FROM logs.contract_index c LEFT JOIN activity.runs r \
         ON r.tenant_id = c.tenant_id AND r.run_id = c.subject_id WHERE c.saga = 'run' AND r.run_key IS NULL",
    ),
    (
        "an attempt without exactly one contract",
        "SELECT COUNT(*) FROM activity.run_attempts a JOIN activity.runs r ON r.run_key = a.run_key WHERE 1 <> \
         (SELECT COUNT(*) FROM logs.contract_index c WHERE c.saga = 'run' AND c.subject_id = r.run_id \
          AND c.attempt = a.attempt)",
    ),
    (
        "an attempt without exactly one evaluation",
        "SELECT COUNT(*) FROM activity.run_attempts a JOIN activity.runs r ON r.run_key = a.run_key WHERE 1 <> \
         (SELECT COUNT(*) FROM policies.evaluations e WHERE e.run_id = r.run_id AND e.attempt = a.attempt)",
    ),
    (
        "an attempt without exactly one reported outcome",
        "SELECT COUNT(*) FROM activity.run_attempts a JOIN activity.runs r ON r.run_key = a.run_key WHERE 1 <> \
         (SELECT COUNT(*) FROM incidents.run_outcomes o WHERE o.run_id = r.run_id AND o.attempt = a.attempt \
          AND o.status = a.status)",
    ),
    (
        "a failed attempt without exactly one occurrence, or a success with one",
        "SELECT COUNT(*) FROM activity.run_attempts a JOIN activity.runs r ON r.run_key = a.run_key WHERE \
         (a.phase = 7) <> (SELECT COUNT(*) FROM incidents.incident_occurrences o WHERE o.run_id = r.run_id \
          AND o.attempt = a.attempt AND o.fact_id = '')",
    ),
    (
        "an incident that counts other occurrences than it has",
        "SELECT COUNT(*) FROM incidents.incidents i WHERE i.occurrence_count <> \
         (SELECT COUNT(*) FROM incidents.incident_occurrences o WHERE o.incident_id = i.id)",
    ),
];

impl Store {
    /// Opens the stores of a data folder for reading.
    ///
    /// # Panics
    /// When one is missing.
    pub fn open(data: &Path) -> Self {
        let file = |domain: &str| data.join(format!("{domain}.db"));
        let connection = Connection::open_with_flags(file("activity"), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the store of activity");
        connection.busy_timeout(Duration::from_secs(5)).expect("patience");
        for domain in ["activity", "incidents", "policies", "logs", "controls"] {
            connection
                .execute(&format!("ATTACH DATABASE ?1 AS {domain}"), [file(domain).display().to_string()])
                .unwrap_or_else(|e| panic!("the store of {domain}: {e}"));
        }
        Self(connection)
    }

    /// What a query that counts comes to.
    ///
    /// # Panics
    /// When it can't be asked.
    pub fn count(&self, sql: &str) -> i64 {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// What the stores hold that they must not, in words.
    pub fn wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        for (what, sql) in NEVER {
            let count = self.count(sql);
            if count != 0 {
                wrongs.push(format!("{what}: {count}"));
            }
        }
        wrongs
    }

    /// What has not ended, in words.
    fn open_attempts(&self) -> Vec<String> {
        let sql = "SELECT r.run_id || ': phase ' || a.phase || ', status ' || a.status || ', lease until ' || \
                   COALESCE(l.expires_at, 0) || ', changed at ' || a.changed_at FROM activity.run_attempts a \
                   JOIN activity.runs r ON r.run_key = a.run_key JOIN activity.leases l ON l.attempt_key = a.attempt_key \
                   WHERE a.phase NOT IN (6, 7) UNION ALL \
                   SELECT subject_id || ': contract open, retries ' || retries || ', parked ' || parked_reason || \
                   ', next deadline ' || COALESCE(next_deadline, 0) || ', next attempt ' || COALESCE(next_attempt_at, 0) \
                   FROM logs.contract_index WHERE state <> 2";
        let read = || -> rusqlite::Result<Vec<String>> {
            self.0.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        read().unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// Runs of all stores.
    pub fn runs(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM activity.runs")
    }
}

/// Waits until nothing is under way and checks what must never remain. Gives how many runs there are.
///
/// # Panics
/// When something is still wrong after `patience`.
pub async fn quiet(mesh: &Mesh, patience: Duration) -> i64 {
    let until = Instant::now() + patience;
    loop {
        let store = Store::open(&mesh.data());
        let wrongs = store.wrongs();
        if wrongs.is_empty() {
            return store.runs();
        }
        if Instant::now() >= until {
            let open = store.open_attempts();
            panic!("after {patience:?} there is still {wrongs:#?}\n{open:#?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
}
