//! The bytes of the chains that a seal and a bundle name beside the trace's own.

use bytes::Bytes;
use runspine_db::{DbError, Read, args};
use runspine_types::Digest;

/// An attempt: tenant, run, number.
pub type Of<'a> = (&'a str, &'a str, u32);

/// The entries of the run's contract up to `count`, with their links.
pub async fn contract(read: &Read, of: Of<'_>, count: u64) -> Result<Vec<(Bytes, Digest)>, DbError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let sql = "SELECT e.entry, e.link FROM contract_index i JOIN contract_entries e ON e.contract_id = i.contract_id \
               WHERE i.tenant_id = $1 AND i.saga = 'run' AND i.subject_id = $2 AND i.attempt = $3 AND e.seq <= $4 \
               ORDER BY e.seq";
    read.fetch_all(sql, args![of.0, of.1, of.2, count]).await
}

/// The evidence of an attempt up to `count`, with its links.
pub async fn evidence(read: &Read, of: Of<'_>, count: u64) -> Result<Vec<(Bytes, Digest)>, DbError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let sql = "SELECT item, link FROM evidence WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 AND seq <= $4 \
               ORDER BY seq";
    read.fetch_all(sql, args![of.0, of.1, of.2, count]).await
}

/// Contract entries of an attempt with their links.
pub async fn contract_links(read: &Read, of: Of<'_>) -> Result<Vec<(Bytes, Digest)>, DbError> {
    let sql = "SELECT e.entry, e.link FROM contract_index i JOIN contract_entries e ON e.contract_id = i.contract_id \
               WHERE i.tenant_id = $1 AND i.saga = 'run' AND i.subject_id = $2 AND i.attempt = $3 ORDER BY e.seq";
    read.fetch_all(sql, args![of.0, of.1, of.2]).await
}

/// Evidence of an attempt with its links.
pub async fn evidence_links(read: &Read, of: Of<'_>) -> Result<Vec<(Bytes, Digest)>, DbError> {
    let sql =
        "SELECT item, link FROM evidence WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 ORDER BY seq";
    read.fetch_all(sql, args![of.0, of.1, of.2]).await
}

runspine_db::row! {
    /// A ledger entry between its links.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LedgerLink {
        /// Its place.
        pub seq: u64,
        /// The entry's bytes.
        pub entry: Bytes,
        /// Its link.
        pub link: Digest,
        /// Link of the entry before it; absent for the first.
        pub previous: Option<Digest>,
    }
}

/// Every ledger entry of a run.
pub async fn ledger_links(read: &Read, tenant_id: &str, run_id: &str) -> Result<Vec<LedgerLink>, DbError> {
    let sql = "SELECT l.seq AS seq, l.entry AS entry, l.link AS link, p.link AS previous FROM ledger l \
               LEFT JOIN ledger p ON p.tenant_id = l.tenant_id AND p.seq = l.seq - 1 \
               WHERE l.tenant_id = $1 AND l.run_id = $2 AND l.run_id <> '' ORDER BY l.seq";
    read.fetch_all(sql, args![tenant_id, run_id]).await
}
