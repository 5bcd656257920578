//! The outbox: events become visible with the commit that caused them, in a dense sequence per domain.
//!
//! Numbers are given when a group commits, all at once. On SQLite there is one writer, and AUTOINCREMENT never gives a
//! number again. On PostgreSQL the row of `outbox_head` stays locked until the commit, so that numbers become visible in
//! their order whatever the number of writers. Hence a consumer that has seen number n has seen, or can read, all before
//! it: it can never skip an event.

use bytes::Bytes;
use runspine_errors::Fault;
use runspine_types::Micros;
use tokio::sync::watch;

use crate::{Args, Db, DbError, Dialect, Tx, args};

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Its id, UUIDv7.
    pub id: String,
    /// Its name, `<domain>.<Event>`.
    pub kind: String,
    /// The encoded envelope; its `sequence` is set when it is pulled.
    pub envelope: Bytes,
    /// When it happened.
    pub at: Micros,
}

crate::row! {
    /// A published event.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OutboxRow {
        /// Its place in the outbox, dense from 1.
        pub seq: u64,
        /// Its id.
        pub event_id: String,
        /// Its name.
        pub kind: String,
        /// The encoded envelope.
        pub envelope: Bytes,
        /// When it happened.
        pub at: Micros,
    }
}

/// Writes the events of a group, as the last thing before its commit.
pub(crate) async fn append(tx: &mut Tx, events: Vec<OutboxEvent>) -> Result<(), DbError> {
    let columns = ["event_id", "kind", "envelope", "at"];
    let row = |e: OutboxEvent| args![e.id, e.kind, e.envelope, e.at];
    if tx.dialect() == Dialect::Sqlite {
        let rows: Vec<Args> = events.into_iter().map(row).collect();
        tx.insert_rows("outbox", &columns, rows, "").await?;
        return Ok(());
    }
    let sql = "UPDATE outbox_head SET seq = seq + $1 RETURNING seq";
    let (head,): (i64,) = tx.fetch_one(sql, args![events.len()]).await?;
    let first = head - i64::try_from(events.len()).unwrap_or(i64::MAX) + 1;
    let numbered = events.into_iter().zip(first..);
    let rows: Vec<Args> = numbered.map(|(e, seq)| args![e.id, e.kind, e.envelope, e.at, seq]).collect();
    tx.insert_rows("outbox", &["event_id", "kind", "envelope", "at", "seq"], rows, "").await?;
    Ok(())
}

/// The consuming side of the outbox. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    db: Db,
    commits: watch::Receiver<u64>,
}

impl Outbox {
    pub(crate) const fn new(db: Db, commits: watch::Receiver<u64>) -> Self {
        Self { db, commits }
    }

    /// Changes with each commit of this process that published something, so that nobody has to poll.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// The events that `consumer` has not acknowledged, oldest first. A consumer that is not known begins at 1.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn pull(&self, consumer: &str, limit: u32) -> Result<Vec<OutboxRow>, DbError> {
        let sql = "SELECT seq, event_id, kind, envelope, at FROM outbox WHERE seq > \
                   COALESCE((SELECT acked FROM outbox_cursors WHERE consumer = $1), 0) ORDER BY seq LIMIT $2";
        self.db.read().fetch_all(sql, args![consumer, limit]).await
    }

    /// The events behind `seq`, oldest first, whoever acknowledged them.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn since(&self, seq: u64, limit: u32) -> Result<Vec<OutboxRow>, DbError> {
        let sql = "SELECT seq, event_id, kind, envelope, at FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2";
        self.db.read().fetch_all(sql, args![seq, limit]).await
    }

    /// Notes that `consumer` has taken care of everything up to `seq`. An older number than before changes nothing, and
    /// one beyond the head counts as the head.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn ack(&self, consumer: &str, seq: u64, now: Micros) -> Result<(), Fault> {
        let consumer = consumer.to_owned();
        // Events that nobody has seen must not be acknowledged by a number that was made up.
        let seq = seq.min(self.head().await?);
        let sql = "INSERT INTO outbox_cursors (consumer, acked, updated_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (consumer) DO UPDATE SET acked = excluded.acked, updated_at = excluded.updated_at \
                   WHERE excluded.acked > outbox_cursors.acked";
        self.db
            .write("ack_events", move |tx| {
                Box::pin(async move {
                    tx.execute(sql, args![consumer, seq, now]).await?;
                    Ok(())
                })
            })
            .await
    }

    /// The number of the newest event, 0 when there is none.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn head(&self) -> Result<u64, DbError> {
        let sql = self.db.dialect().pick(
            "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'",
            "SELECT seq FROM outbox_head",
        );
        Ok(self.db.read().fetch_one::<(u64,)>(sql, args![]).await?.0)
    }

    /// When the oldest event that `consumer` has not acknowledged happened; `None` when there is none.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn oldest_unacked(&self, consumer: &str) -> Result<Option<Micros>, DbError> {
        Ok(self.pull(consumer, 1).await?.first().map(|row| row.at))
    }

    /// When the oldest event happened that some known consumer has not acknowledged, or anybody when none is known.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn oldest_unsent(&self) -> Result<Option<Micros>, DbError> {
        let sql = "SELECT at FROM outbox WHERE seq > (SELECT COALESCE(MIN(acked), 0) FROM outbox_cursors) \
                   ORDER BY seq LIMIT 1";
        let row: Option<(Micros,)> = self.db.read().fetch_optional(sql, args![]).await?;
        Ok(row.map(|(at,)| at))
    }

    /// Forgets at most `limit` events that every known consumer has acknowledged and that happened before `before`,
    /// and says how many. Nothing is forgotten while no consumer is known.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn prune(&self, before: Micros, limit: u32) -> Result<u64, Fault> {
        let sql = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE at < $1 AND seq <= \
                   (SELECT COALESCE(MIN(acked), 0) FROM outbox_cursors) ORDER BY seq LIMIT $2)";
        self.db
            .write("prune_outbox", move |tx| {
                Box::pin(async move { Ok(tx.execute(sql, args![before, limit]).await?) })
            })
            .await
    }
}
