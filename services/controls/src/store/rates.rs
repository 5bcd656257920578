//! Reads of buckets and slots for those who look on, and the one order that changes a bucket.

use runspine_controls_domain::{
    limit::{Key, Limit},
    rate::Bucket,
    words::Category,
};
use runspine_db::{AssertSqlSafe, DbError, FromRow, Read, Row, Tx, args};
use runspine_types::Micros;

use super::{
    rows::{EnvelopeRow, LimitRow},
    views::{EnvelopeFilter, Where},
};

/// A RATE or CONCURRENCY limit for one scope id.
#[derive(Debug, Clone)]
pub struct RateView {
    /// The row that it hangs on.
    pub envelope: EnvelopeRow,
    /// The limit.
    pub limit: Limit,
    /// The bucket; none: nobody has taken from it.
    pub bucket: Option<Bucket>,
    /// Slots that are taken.
    pub slots: i64,
}

impl FromRow for RateView {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let level: Option<i64> = row.get("level")?;
        let last: Option<Micros> = row.get("filled_at")?;
        Ok(Self {
            envelope: EnvelopeRow::from_row(row)?,
            limit: LimitRow::from_row(row)?.try_into()?,
            bucket: level.zip(last).map(|(level, last)| Bucket { level, last }),
            slots: row.get("slots_used")?,
        })
    }
}

impl RateView {
    /// The bucket at a time.
    #[must_use]
    pub fn bucket_at(&self, now: Micros) -> Bucket {
        self.bucket.map_or_else(|| Bucket::full(&self.limit, now), |b| b.at(&self.limit, now))
    }

    /// What is used: tokens that a bucket lacks, or slots.
    #[must_use]
    pub fn used(&self, now: Micros) -> i64 {
        match self.limit.spec.category {
            Category::Rate => self.limit.spec.burst - self.bucket_at(now).tokens(),
            _ => self.slots,
        }
    }
}

/// Rates and slots of a tenant, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn rates(read: &Read, tenant: &str, filter: &EnvelopeFilter) -> Result<Vec<RateView>, DbError> {
    let mut when = Where::new(
        "e.tenant_id = $1 AND e.envelope_key > $2 AND l.category IN (2, 3)",
        args![tenant, filter.after],
    );
    when.and("l.limit_id = ?", filter.limit_id.as_ref());
    when.one_of("e.scope", &filter.scopes);
    when.and("e.scope_id = ?", filter.scope_id.as_ref());
    let most = when.place(filter.limit);
    let sql = format!(
        "SELECT e.envelope_key, e.envelope_id, e.tenant_id, e.limit_key, e.scope, e.scope_id, l.limit_id, l.state, \
         l.source, l.version, l.spec, l.created_at, l.updated_at, b.level, b.filled_at, \
         (SELECT COUNT(*) FROM slots s WHERE s.envelope_key = e.envelope_key) AS slots_used \
         FROM envelopes e JOIN limits l ON l.limit_key = e.limit_key \
         LEFT JOIN buckets b ON b.envelope_key = e.envelope_key \
         WHERE {} ORDER BY e.envelope_key LIMIT {most}",
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

/// Fills a bucket.
///
/// # Errors
/// When the store fails.
pub async fn fill(tx: &mut Tx, envelope: Key, full: Bucket) -> Result<(), DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!("SELECT envelope_key FROM envelopes WHERE envelope_key = $1{lock}");
    let _: Option<(i64,)> = tx.fetch_optional(AssertSqlSafe(sql), args![envelope]).await?;
    let row = args![envelope, full.level, full.last];
    let upsert = "ON CONFLICT (envelope_key) DO UPDATE SET level = excluded.level, \
                  filled_at = excluded.filled_at, base_level = NULL";
    tx.insert_rows("buckets", &["envelope_key", "level", "filled_at"], vec![row], upsert).await?;
    Ok(())
}
