//! Holds and answered asks on the desk.

use std::collections::HashMap;

use bytes::Bytes;
use runspine_controls_domain::{
    hold::{Hold, HoldKey, Line},
    limit::Key,
    words::HoldState,
};
use runspine_db::{Args, AssertSqlSafe, DbError, args};
use runspine_types::{Digest, Micros};

use super::{
    desk::{Desk, HoldSlot},
    lists::{CHUNK, list},
    rows::{AskRow, HoldRow},
};
use crate::app::records::Evidence;

runspine_db::row! {
    /// A line of a hold.
    #[derive(Debug, Clone)]
    pub struct LineRow {
        /// Its hold.
        pub hold_id: String,
        /// Envelope.
        pub envelope_key: i64,
        /// Begin of the period.
        pub period_start: Micros,
        /// Amount.
        pub amount: i64,
        /// Whether the envelope could not fund it.
        pub unfunded: bool,
    }
}

/// The transition that ends a hold has this number, so that the key refuses a second one.
const LAST: i64 = 99;

impl Desk<'_> {
    /// Loads every answered ask of these steps.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_asks(&mut self, steps: &[(Key, i64)]) -> Result<(), DbError> {
        for part in steps.chunks(CHUNK) {
            let keys = list(part.iter().map(|(run, step)| args![*run, *step]).collect());
            let sql = format!(
                "SELECT {} FROM evidence WHERE (run_key, step_index) IN (SELECT column1, column2 FROM {})",
                AskRow::COLUMNS,
                keys.sql
            );
            let rows: Vec<AskRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            for row in rows {
                self.asks.insert((row.run_key, row.step_index, row.ask), row);
            }
        }
        Ok(())
    }

    /// An answered ask.
    #[must_use]
    pub fn ask(&self, key: HoldKey) -> Option<&AskRow> {
        self.asks.get(&key)
    }

    /// When the first ask of a step was answered with `verdict`.
    #[must_use]
    pub fn first_answered(&self, run: Key, step: i64, verdict: i32) -> Option<Micros> {
        let asks = self.asks.range((run, step, i64::MIN)..=(run, step, i64::MAX));
        asks.filter(|(_, row)| row.verdict == verdict).map(|(_, row)| row.evaluated_at).min()
    }

    /// Loads every hold of these steps: those that their evidence names, and those of steps without any.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_holds(&mut self, steps: &[(Key, i64)]) -> Result<(), DbError> {
        for part in steps.chunks(CHUNK) {
            let keys = list(part.iter().map(|(run, step)| args![*run, *step]).collect());
            let these = format!("(run_key, step_index) IN (SELECT column1, column2 FROM {})", keys.sql);
            let filter = format!(
                "hold_id IN (SELECT hold_id FROM evidence WHERE {these} UNION ALL \
                 SELECT hold_id FROM holds WHERE ask = -1 AND {these})"
            );
            self.fetch_holds(&filter, keys.args).await?;
        }
        Ok(())
    }

    /// The runs that holds belong to. The holds themselves are on the desk only behind the locks of those runs: at once
    /// where there is one writer, else by [`Desk::load_hold_ids`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_hold_runs(&mut self, ids: &[&str]) -> Result<Vec<Key>, DbError> {
        let mut runs = Vec::new();
        if self.lock().is_empty() {
            self.load_hold_ids(ids).await?;
            runs.extend(ids.iter().filter_map(|id| self.hold_key(id)).map(|key| key.0));
            return Ok(runs);
        }
        for part in ids.chunks(CHUNK) {
            let keys = list(part.iter().map(|id| args![*id]).collect());
            let sql = format!(
                "SELECT DISTINCT run_key FROM holds WHERE hold_id IN (SELECT column1 FROM {})",
                keys.sql
            );
            let rows: Vec<(Key,)> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            runs.extend(rows.into_iter().map(|row| row.0));
        }
        Ok(runs)
    }

    /// Loads holds by their ids.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_hold_ids(&mut self, ids: &[&str]) -> Result<(), DbError> {
        let ids: Vec<&str> = ids.iter().copied().filter(|id| self.hold_key(id).is_none()).collect();
        for part in ids.chunks(CHUNK) {
            let keys = list(part.iter().map(|id| args![*id]).collect());
            self.fetch_holds(&format!("hold_id IN (SELECT column1 FROM {})", keys.sql), keys.args).await?;
        }
        Ok(())
    }

    /// Loads the active holds of runs.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_active_holds(&mut self, runs: &[Key]) -> Result<(), DbError> {
        for part in runs.chunks(CHUNK) {
            let keys = list(part.iter().map(|run| args![*run]).collect());
            let filter = format!("run_key IN (SELECT column1 FROM {}) AND state = 1", keys.sql);
            self.fetch_holds(&filter, keys.args).await?;
        }
        Ok(())
    }

    async fn fetch_holds(&mut self, filter: &str, args: Args) -> Result<(), DbError> {
        let text = format!("SELECT {} FROM holds WHERE {filter}", HoldRow::COLUMNS);
        let rows: Vec<HoldRow> = self.tx.fetch_all(AssertSqlSafe(text), args).await?;
        let fresh: Vec<HoldRow> = rows
            .into_iter()
            .filter(|r| !self.holds.contains_key(&(r.run_key, r.step_index, r.ask)))
            .collect();
        let mut lines = self.fetch_lines(&fresh).await?;
        for row in fresh {
            let mut hold = row.hold()?;
            hold.lines = lines.remove(&hold.id).unwrap_or_default();
            let settled = row.settle_digest.zip(row.settle_answer);
            self.hold_ids.insert(hold.id.clone(), hold.key);
            let slot = HoldSlot { before: Some(hold.clone()), settled, newly_settled: false, hold };
            self.holds.insert(slot.hold.key, slot);
        }
        Ok(())
    }

    async fn fetch_lines(&mut self, holds: &[HoldRow]) -> Result<HashMap<String, Vec<Line>>, DbError> {
        let mut lines: HashMap<String, Vec<Line>> = HashMap::new();
        let mut envelopes = Vec::new();
        for part in holds.chunks(CHUNK) {
            let keys = list(part.iter().map(|h| args![&h.hold_id]).collect());
            let sql = format!(
                "SELECT {} FROM hold_lines WHERE hold_id IN (SELECT column1 FROM {}) ORDER BY envelope_key",
                LineRow::COLUMNS,
                keys.sql
            );
            let rows: Vec<LineRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            for row in rows {
                envelopes.push(row.envelope_key);
                lines.entry(row.hold_id).or_default().push(Line {
                    envelope: row.envelope_key,
                    period_start: row.period_start,
                    amount: row.amount,
                    unfunded: row.unfunded,
                });
            }
        }
        self.load_envelopes(&envelopes).await?;
        Ok(lines)
    }

    /// A hold by its id.
    #[must_use]
    pub fn hold_key(&self, id: &str) -> Option<HoldKey> {
        self.hold_ids.get(id).copied()
    }

    /// A hold.
    #[must_use]
    pub fn hold(&self, key: HoldKey) -> Option<&HoldSlot> {
        self.holds.get(&key)
    }

    /// The hold of a step's latest ask.
    #[must_use]
    pub fn latest_hold(&self, run: Key, step: i64) -> Option<HoldKey> {
        let holds = self.holds.range((run, step, i64::MIN)..=(run, step, i64::MAX));
        holds.map(|(key, _)| *key).next_back()
    }

    /// How many holds of a run are on the desk.
    #[must_use]
    pub fn hold_count(&self, run: Key) -> usize {
        self.holds.range((run, i64::MIN, i64::MIN)..=(run, i64::MAX, i64::MAX)).count()
    }

    /// The active holds of a run that are on the desk.
    #[must_use]
    pub fn active_holds(&self, run: Key) -> Vec<Hold> {
        let holds = self.holds.range((run, i64::MIN, i64::MIN)..=(run, i64::MAX, i64::MAX));
        holds.filter(|(_, s)| s.hold.state == HoldState::Active).map(|(_, s)| s.hold.clone()).collect()
    }

    /// Puts a hold on the desk as it is now, with the transition that led there.
    pub fn put_hold(&mut self, hold: Hold, now: Micros) {
        let before = self.holds.get(&hold.key).map(|slot| (slot.hold.state, slot.hold.extensions));
        let (from, seq) = match before {
            None if hold.state == HoldState::Active => (0, Some(0)),
            None => (0, Some(LAST)),
            Some((state, _)) if state != hold.state => (state.code(), Some(LAST)),
            Some((state, extensions)) if extensions != hold.extensions => {
                (state.code(), Some(i64::from(hold.extensions)))
            }
            Some((state, _)) => (state.code(), None),
        };
        if let Some(seq) = seq {
            self.transitions.push((hold.id.clone(), seq, from, hold.state.code(), now));
        }
        self.hold_ids.insert(hold.id.clone(), hold.key);
        match self.holds.get_mut(&hold.key) {
            Some(slot) => slot.hold = hold,
            None => {
                let slot = HoldSlot { before: None, settled: None, newly_settled: false, hold };
                self.holds.insert(slot.hold.key, slot);
            }
        }
    }

    /// Keeps the answer of the request that settled a hold.
    pub fn keep_settled(&mut self, key: HoldKey, digest: Digest, answer: Bytes) {
        if let Some(slot) = self.holds.get_mut(&key) {
            slot.settled = Some((digest, answer));
            slot.newly_settled = true;
        }
    }

    /// Records an admission, so that a repeat in the same group finds it too.
    pub fn put_evidence(&mut self, evidence: Evidence) {
        let (run_key, step_index, ask) = evidence.key;
        let row = AskRow {
            run_key,
            step_index,
            ask,
            verdict: evidence.verdict,
            request_digest: evidence.request_digest,
            answer: evidence.answer.clone(),
            evaluated_at: evidence.evaluated_at,
        };
        self.asks.insert(evidence.key, row);
        self.evidence.push(evidence);
    }
}
