//! What is erased, and what is kept from it.

use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, Value, args};
use runspine_types::{Digest, Micros};

/// Which payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// These references.
    Refs(Vec<Digest>),
    /// Everything about a person, by the digest of the tag.
    Subject(Digest),
    /// Everything of a run.
    Run(String),
    /// Everything of the tenant.
    Tenant,
}

/// An order to hold, or to let go.
pub struct NewHold<'a> {
    /// Its id.
    pub hold_id: &'a str,
    /// The run; empty when it is about a person.
    pub run_id: &'a str,
    /// Digest of the person's tag.
    pub subject: Option<Digest>,
    /// Whether to hold.
    pub hold: bool,
    /// Why.
    pub reason: &'a str,
    /// Who.
    pub actor_id: &'a str,
    /// When.
    pub set_at: Micros,
}

/// Makes holds and erasures of a tenant come one after the other, whatever replica they reach.
pub async fn one_at_a_time(tx: &mut Tx, tenant_id: &str) -> Result<(), DbError> {
    let sql = "UPDATE tenant_secrets SET tenant_id = tenant_id WHERE tenant_id = $1";
    tx.execute(sql, args![tenant_id]).await?;
    Ok(())
}

/// Notes an order.
pub async fn hold(tx: &mut Tx, tenant_id: &str, new: &NewHold<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO legal_holds (hold_id, tenant_id, run_id, subject, hold, reason, actor_id, set_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let subject = new.subject.map(|s| s.to_vec()).unwrap_or_default();
    let args =
        args![new.hold_id, tenant_id, new.run_id, subject, new.hold, new.reason, new.actor_id, new.set_at];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Whether the newest order about the run of `alias` is to hold it.
fn run_held(alias: &str) -> String {
    format!(
        "COALESCE((SELECT h.hold FROM legal_holds h WHERE h.tenant_id = {alias}.tenant_id \
         AND h.run_id = {alias}.run_id ORDER BY h.id DESC LIMIT 1), 0) = 1"
    )
}

/// Whether payload `p` is held, by its run or by the person it is about.
fn held() -> String {
    format!(
        "({} OR (p.subject IS NOT NULL AND COALESCE((SELECT h.hold FROM legal_holds h \
         WHERE h.tenant_id = p.tenant_id AND h.subject = p.subject ORDER BY h.id DESC LIMIT 1), 0) = 1))",
        run_held("p")
    )
}

/// The payloads of `selector` that are stored, as a condition on `p`; its arguments come after `used` others.
fn chosen(selector: &Selector, used: usize) -> (String, Args) {
    let first = used + 1;
    match selector {
        Selector::Refs(refs) => {
            let places: Vec<String> = (0..refs.len()).map(|n| format!("${}", first + n)).collect();
            let args = refs.iter().map(Value::from).collect();
            (format!("p.erased_at IS NULL AND p.ref IN ({})", places.join(",")), args)
        }
        Selector::Subject(subject) => {
            (format!("p.erased_at IS NULL AND p.subject = ${first}"), args![*subject])
        }
        Selector::Run(run_id) => (format!("p.erased_at IS NULL AND p.run_id = ${first}"), args![run_id]),
        Selector::Tenant => ("p.erased_at IS NULL".to_owned(), Args::new()),
    }
}

/// How many payloads of `selector` are held.
pub async fn count_held(tx: &mut Tx, tenant_id: &str, selector: &Selector) -> Result<u64, DbError> {
    let (chosen, more) = chosen(selector, 1);
    let sql = format!("SELECT COUNT(*) FROM payloads p WHERE p.tenant_id = $1 AND {chosen} AND {}", held());
    let args = args![tenant_id].into_iter().chain(more).collect();
    Ok(tx.fetch_one::<(u64,)>(AssertSqlSafe(sql), args).await?.0)
}

/// Empties the payloads of `selector` that are not held; gives how many.
pub async fn erase(
    tx: &mut Tx,
    tenant_id: &str,
    selector: &Selector,
    (erasure_id, at): (&str, Micros),
) -> Result<u64, DbError> {
    let (chosen, more) = chosen(selector, 3);
    let sql = format!(
        "UPDATE payloads SET ciphertext = NULL, erased_at = $2, erasure_id = $3 WHERE id IN \
         (SELECT p.id FROM payloads p WHERE p.tenant_id = $1 AND {chosen} AND NOT {})",
        held()
    );
    let args = args![tenant_id, at, erasure_id].into_iter().chain(more).collect();
    tx.execute(AssertSqlSafe(sql), args).await
}

/// Whether a run is held by an order about itself.
pub async fn is_held(tx: &mut Tx, tenant_id: &str, run_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT hold FROM legal_holds WHERE tenant_id = $1 AND run_id = $2 ORDER BY id DESC LIMIT 1";
    let newest: Option<(bool,)> = tx.fetch_optional(sql, args![tenant_id, run_id]).await?;
    Ok(newest.is_some_and(|(hold,)| hold))
}

/// Whether the tenant has such a run.
pub async fn is_run(tx: &mut Tx, tenant_id: &str, run_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM run_secrets WHERE tenant_id = $1 AND run_id = $2";
    Ok(tx.fetch_optional::<(i64,)>(sql, args![tenant_id, run_id]).await?.is_some())
}

/// Destroys the salt and the key of a run.
pub async fn forget_run(tx: &mut Tx, tenant_id: &str, run_id: &str) -> Result<(), DbError> {
    let sql =
        "UPDATE run_secrets SET digest_salt = NULL, data_key = NULL WHERE tenant_id = $1 AND run_id = $2";
    tx.execute(sql, args![tenant_id, run_id]).await?;
    Ok(())
}

/// Destroys the salts and keys of every run of a tenant that is not held and keeps no payload, its ledger states, and,
/// when nothing is held, the key of its parameters digests.
pub async fn forget_tenant(tx: &mut Tx, tenant_id: &str) -> Result<(), DbError> {
    let runs = format!(
        "UPDATE run_secrets SET digest_salt = NULL, data_key = NULL WHERE tenant_id = $1 AND run_id NOT IN \
         (SELECT p.run_id FROM payloads p WHERE p.tenant_id = $1 AND p.erased_at IS NULL) AND NOT {}",
        run_held("run_secrets")
    );
    tx.execute(AssertSqlSafe(runs), args![tenant_id]).await?;
    let states = format!(
        "UPDATE ledger_states SET before_state = NULL, after_state = NULL, state_salt = NULL \
         WHERE tenant_id = $1 AND seq NOT IN (SELECT l.seq FROM ledger l WHERE l.tenant_id = $1 \
         AND l.run_id <> '' AND {})",
        run_held("l")
    );
    tx.execute(AssertSqlSafe(states), args![tenant_id]).await?;
    let key = "UPDATE tenant_secrets SET parameter_key = NULL WHERE tenant_id = $1 AND NOT EXISTS \
               (SELECT 1 FROM run_secrets r WHERE r.tenant_id = $1 AND r.digest_salt IS NOT NULL)";
    tx.execute(key, args![tenant_id]).await?;
    Ok(())
}

/// Runs whose attempts were all sealed before `before` and whose salt is still kept, at most `limit`: tenant and run.
pub async fn expired(read: &Read, before: Micros, limit: u32) -> Result<Vec<(String, String)>, DbError> {
    let sql = format!(
        "SELECT s.tenant_id, s.run_id FROM run_secrets s WHERE s.digest_salt IS NOT NULL AND NOT {} AND EXISTS \
         (SELECT 1 FROM traces t WHERE t.tenant_id = s.tenant_id AND t.run_id = s.run_id) AND NOT EXISTS \
         (SELECT 1 FROM traces t LEFT JOIN trace_seals e ON e.trace_key = t.trace_key \
         WHERE t.tenant_id = s.tenant_id AND t.run_id = s.run_id AND COALESCE(e.sealed_at, $1) >= $1) \
         AND NOT EXISTS (SELECT 1 FROM payloads p WHERE p.tenant_id = s.tenant_id AND p.run_id = s.run_id \
         AND p.erased_at IS NULL AND {}) ORDER BY s.tenant_id, s.run_id LIMIT $2",
        run_held("s"),
        held()
    );
    read.fetch_all(AssertSqlSafe(sql), args![before, limit]).await
}
