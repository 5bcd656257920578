//! Envelopes on the desk: found by limit and scope id, made at first use.

use std::sync::Arc;

use runspine_controls_domain::{
    limit::{Key, Limit, RunScope},
    overrides::in_force,
    words::Scope,
};
use runspine_db::{AssertSqlSafe, DbError, args};
use runspine_types::{Micros, PLATFORM_TENANT, new_id};

use super::{
    caches::ControlSet,
    desk::{Desk, Overridden},
    lists::{CHUNK, list},
    rows::{EnvelopeName, EnvelopeRow},
};

/// The envelope of a limit for one scope id. Whatever the category, its row is what buckets, slots and breaches of the
/// limit hang on, and the one lock of them.
pub type Applicable = (Arc<Limit>, Arc<EnvelopeRow>);

impl Desk<'_> {
    /// Makes the envelopes of these starts (`true`) and steps that do not exist yet, with one statement for all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ensure_envelopes(
        &mut self,
        scopes: &[(RunScope, bool)],
        now: Micros,
    ) -> Result<(), DbError> {
        let mut unknown: Vec<(EnvelopeName, Arc<Limit>, String)> = Vec::new();
        for (scope, at_start) in scopes {
            for limit in self.set(&scope.tenant_id).active.iter().filter(|l| l.looked_at(*at_start)) {
                let owner =
                    if limit.spec.scope == Scope::Global { PLATFORM_TENANT } else { &scope.tenant_id };
                let Some(id) = limit.scope_id(scope) else { continue };
                if self.caches.named(limit.key, id).is_none() {
                    unknown.push(((limit.key, id.to_owned()), limit.clone(), owner.to_owned()));
                }
            }
        }
        unknown.sort_by(|a, b| a.0.cmp(&b.0));
        unknown.dedup_by(|a, b| a.0 == b.0);
        for part in unknown.chunks(CHUNK) {
            self.make_envelopes(part, now).await?;
        }
        Ok(())
    }

    /// The envelope of a limit for one scope id, made when it does not exist.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn envelope_for(
        &mut self,
        limit: &Limit,
        tenant: &str,
        scope_id: &str,
        now: Micros,
    ) -> Result<Key, DbError> {
        let limit = Arc::new(limit.clone());
        let name = (limit.key, scope_id.to_owned());
        self.make_envelopes(&[(name, limit.clone(), tenant.to_owned())], now).await?;
        let made = self.caches.named(limit.key, scope_id);
        let row = made.ok_or_else(|| super::rows::unreadable("envelopes: not made"))?;
        let limit = self.effective(&self.set(tenant), &limit, &row);
        self.book.put_envelope(row.envelope_key, limit);
        Ok(row.envelope_key)
    }

    async fn make_envelopes(
        &mut self,
        part: &[(EnvelopeName, Arc<Limit>, String)],
        now: Micros,
    ) -> Result<(), DbError> {
        let columns = ["envelope_id", "tenant_id", "limit_key", "scope", "scope_id", "created_at"];
        let rows = part.iter().map(|((limit_key, scope_id), limit, tenant)| {
            args![new_id(), tenant, *limit_key, limit.spec.scope.code(), scope_id, now]
        });
        self.tx.insert_rows("envelopes", &columns, rows.collect(), "ON CONFLICT DO NOTHING").await?;
        let keys = list(part.iter().map(|((key, id), _, _)| args![*key, id]).collect());
        let sql = format!(
            "SELECT {} FROM envelopes WHERE (limit_key, scope_id) IN (SELECT column1, column2 FROM {})",
            EnvelopeRow::COLUMNS,
            keys.sql
        );
        let rows: Vec<EnvelopeRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
        for row in rows {
            self.caches.keep_envelope(row);
        }
        Ok(())
    }

    /// The envelopes of all limits that are looked at when a run starts or a step is asked for, in ascending order of
    /// their keys. They must have been ensured.
    pub fn applicable(&mut self, scope: &RunScope, at_start: bool) -> Vec<Applicable> {
        let set = self.set(&scope.tenant_id);
        let mut found = Vec::new();
        for limit in set.active.iter().filter(|l| l.looked_at(at_start)) {
            let row = limit.scope_id(scope).and_then(|id| self.caches.named(limit.key, id));
            let Some(row) = row else { continue };
            let limit = self.effective(&set, limit, &row);
            self.book.put_envelope(row.envelope_key, limit.clone());
            found.push((limit, row));
        }
        found.sort_by_key(|(_, row)| row.envelope_key);
        found
    }

    /// A limit as it holds for one envelope: with the value of the override in force, if there is one.
    fn effective(&mut self, set: &ControlSet, limit: &Arc<Limit>, row: &EnvelopeRow) -> Arc<Limit> {
        let Some(found) = in_force(&set.overrides, limit.key, &row.scope_id, self.at) else {
            self.overridden.remove(&row.envelope_key);
            return limit.clone();
        };
        let with = Arc::new(limit.with_value(found.value));
        let of = Overridden {
            key: found.key,
            override_id: found.id.clone(),
            base: limit.clone(),
            with: with.clone(),
        };
        self.overridden.insert(row.envelope_key, of);
        with
    }

    /// Puts envelopes with their limits, in force or not, into the book.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_envelopes(&mut self, keys: &[Key]) -> Result<(), DbError> {
        let mut unknown: Vec<Key> = keys
            .iter()
            .copied()
            .filter(|k| !self.book.knows(*k) && self.caches.keyed(*k).is_none())
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        for part in unknown.chunks(CHUNK) {
            let keys = list(part.iter().map(|k| args![*k]).collect());
            let sql = format!(
                "SELECT {} FROM envelopes WHERE envelope_key IN (SELECT column1 FROM {})",
                EnvelopeRow::COLUMNS,
                keys.sql
            );
            let rows: Vec<EnvelopeRow> = self.tx.fetch_all(AssertSqlSafe(sql), keys.args).await?;
            for row in rows {
                self.caches.keep_envelope(row);
            }
        }
        for key in keys.iter().filter(|k| !self.book.knows(**k)).copied().collect::<Vec<_>>() {
            let Some(row) = self.caches.keyed(key) else { continue };
            let set = self.set(&row.tenant_id);
            if let Some(limit) = set.all.get(&row.limit_key) {
                let limit = self.effective(&set, limit, &row);
                self.book.put_envelope(key, limit);
            }
        }
        Ok(())
    }

    /// An envelope that is on the desk.
    #[must_use]
    pub fn envelope(&self, key: Key) -> Option<Applicable> {
        let row = self.caches.keyed(key)?;
        Some((self.book.limit(key)?.clone(), row))
    }
}
