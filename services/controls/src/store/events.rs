//! Events, into the outbox of the same commit.

use bytes::Bytes;
use contracts_common::common::v1::{Actor, EventEnvelope};
use contracts_controls::v1 as pb;
use prost::Message;
use runspine_controls_domain::{
    account::PeriodKey,
    book::Notice,
    guardrail::Guardrail,
    limit::permille,
    signal::{RiskLevel, SignalType},
};
use runspine_db::{DbError, OutboxEvent, Tx, args};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{
    desk::Desk,
    guardrails::{self, TripRow},
};
use crate::{
    app::records::{Caller, NewBreach, NewSignal},
    metrics,
};

/// What an event is about.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What kind of thing.
    pub entity_type: &'static str,
    /// Which one.
    pub entity_id: String,
    /// The run; empty: none.
    pub run_id: String,
    /// The attempt; 0: none.
    pub attempt: u32,
    /// The step.
    pub step_index: Option<u32>,
    /// Why.
    pub reason: String,
    /// Canonical JSON of the entity before.
    pub before: String,
    /// Canonical JSON of the entity after.
    pub after: String,
}

/// Publishes one event. `name` is that of its message, e.g. `LimitCreated`.
pub fn publish(tx: &mut Tx, caller: &Caller, name: &str, about: About, data: &impl Message, now: Micros) {
    let envelope = EventEnvelope {
        id: new_id(),
        r#type: format!("controls.{name}"),
        source: "controls".to_owned(),
        subject: if about.run_id.is_empty() { about.entity_id.clone() } else { about.run_id.clone() },
        time: Some(timestamp(now)),
        schema_version: "1.0.0".to_owned(),
        tenant_id: caller.tenant_id.clone(),
        project_id: String::new(),
        run_id: about.run_id,
        attempt: about.attempt,
        step_index: about.step_index,
        actor: Some(Actor { r#type: caller.actor_type, id: caller.actor_id.clone() }),
        entity_type: about.entity_type.to_owned(),
        entity_id: about.entity_id,
        reason: about.reason,
        correlation_id: caller.correlation_id.clone(),
        causation_id: caller.causation_id.clone(),
        config_digest: caller.config_digest.clone(),
        sequence: 0,
        before_state: about.before,
        after_state: about.after,
        data_type: format!("runspine.controls.v1.{name}"),
        data: Bytes::from(data.encode_to_vec()),
    };
    tx.emit_raw(OutboxEvent {
        id: envelope.id.clone(),
        kind: envelope.r#type.clone(),
        envelope: Bytes::from(envelope.encode_to_vec()),
        at: now,
    });
}

runspine_db::row! {
    /// A breach that was not known before.
    #[derive(Debug)]
    struct FreshBreach {
        breach_id: String,
    }
}

impl Desk<'_> {
    /// What an event about a run says of it.
    #[must_use]
    pub fn about_run(&self, run: i64, entity_type: &'static str, entity_id: String) -> About {
        let (run_id, attempt) =
            self.run_by_key(run).map_or_else(Default::default, |r| (r.run_id.clone(), r.attempt));
        About { entity_type, entity_id, run_id, attempt, ..About::default() }
    }

    pub(super) async fn flush_breaches(&mut self) -> Result<(), DbError> {
        let found = std::mem::take(&mut self.breaches);
        if found.is_empty() {
            return Ok(());
        }
        let columns = [
            "breach_id",
            "tenant_id",
            "envelope_key",
            "period_start",
            "run_key",
            "step_index",
            "type",
            "value",
            "limit_value",
            "override_id",
            "breached_at",
        ];
        let ids: Vec<(String, NewBreach)> = found.into_iter().map(|b| (new_id(), b)).collect();
        let rows = ids
            .iter()
            .map(|(id, b)| {
                args![
                    id,
                    self.tenant_of(b),
                    b.envelope,
                    b.period_start,
                    b.run,
                    b.step,
                    b.kind.code(),
                    b.value,
                    b.limit_value,
                    b.override_id.clone(),
                    b.at
                ]
            })
            .collect();
        let conflict = "ON CONFLICT DO NOTHING";
        let fresh: Vec<FreshBreach> =
            self.tx.insert_rows_returning("breaches", &columns, rows, conflict, FreshBreach::COLUMNS).await?;
        let mut trips = Vec::new();
        for (id, breach) in ids.iter().filter(|(id, _)| fresh.iter().any(|f| f.breach_id == *id)) {
            self.publish_breach(id, breach);
            trips.extend(self.trip(id, breach));
        }
        guardrails::tripped(self.tx, &trips).await
    }

    /// Whose breach it is: of a limit of the mesh the run's tenant, without a run the envelope's.
    fn tenant_of(&self, breach: &NewBreach) -> String {
        let of_envelope = || self.envelope(breach.envelope).map(|(_, row)| row.tenant_id.clone());
        let of_run = self.run_by_key(breach.run).map(|run| run.tenant_id.clone());
        of_run.or_else(of_envelope).unwrap_or_default()
    }

    /// A breach that freezes an agent.
    fn trip(&self, id: &str, breach: &NewBreach) -> Option<TripRow> {
        let (limit, envelope) = self.envelope(breach.envelope).filter(|_| breach.orders)?;
        let guardrail = Guardrail::of(&limit)?;
        let (_, freeze_until) = guardrail.freezes(breach.at)?;
        Some(TripRow {
            breach_id: id.to_owned(),
            tenant_id: envelope.tenant_id.clone(),
            guardrail: guardrail.code(),
            scope_id: envelope.scope_id.clone(),
            value: breach.value,
            limit_value: breach.limit_value,
            tripped_at: breach.at,
            freeze_until,
        })
    }

    fn publish_breach(&mut self, id: &str, breach: &NewBreach) {
        let Some((limit, envelope)) = self.envelope(breach.envelope) else { return };
        metrics::BREACHES.increment(&[("type", breach.kind.name())]);
        let mut about = self.about_run(breach.run, "breach", id.to_owned());
        about.step_index = breach.step;
        about.reason = breach.kind.name().to_owned();
        let data = pb::LimitBreached {
            breach: Some(pb::Breach {
                breach_id: id.to_owned(),
                limit_id: limit.id.clone(),
                envelope_id: envelope.envelope_id.clone(),
                run_id: about.run_id.clone(),
                attempt: about.attempt,
                step_index: breach.step,
                r#type: breach.kind.code(),
                value: breach.value,
                limit_value: breach.limit_value,
                unit: limit.spec.unit.code(),
                consequence: limit.spec.consequence.code(),
                breached_at: Some(timestamp(breach.at)),
                override_id: breach.override_id.clone().unwrap_or_default(),
                limit_name: limit.spec.name.clone(),
                category: limit.spec.category.code(),
                scope_id: envelope.scope_id.clone(),
                ..pb::Breach::default()
            }),
        };
        publish(self.tx, &Caller::mesh(&envelope.tenant_id), "LimitBreached", about, &data, breach.at);
    }

    pub(super) fn publish_notices(&mut self, now: Micros) {
        for notice in self.book.notices().to_vec() {
            self.publish_notice(&notice, now);
        }
    }

    /// Says of every envelope whose period was closed what went on into the next one.
    pub(super) fn publish_rolled(&mut self, closed: &[PeriodKey], now: Micros) {
        let began: Vec<_> = self.book.changed_periods().copied().collect();
        for (envelope, ended) in closed {
            let next =
                began.iter().filter(|p| p.key.0 == *envelope && p.key.1 > *ended).min_by_key(|p| p.key.1);
            let Some((next, (_, row))) = next.zip(self.envelope(*envelope)) else { continue };
            let data = pb::EnvelopeRolled {
                envelope_id: row.envelope_id.clone(),
                period_start: Some(timestamp(next.key.1)),
                rollover_in: next.rollover_in,
                debt_in: next.debt_in,
            };
            let entity_id = row.envelope_id.clone();
            let about = About { entity_type: "envelope", entity_id, ..About::default() };
            publish(self.tx, &Caller::mesh(&row.tenant_id), "EnvelopeRolled", about, &data, now);
        }
    }

    fn publish_notice(&mut self, notice: &Notice, now: Micros) {
        let Some((limit, envelope)) = self.envelope(notice.period.0) else { return };
        let caller = Caller::mesh(&envelope.tenant_id);
        let envelope_id = envelope.envelope_id.clone();
        let about = self.about_run(notice.run.unwrap_or(0), "envelope", envelope_id.clone());
        let level = if notice.blocked { pb::ProximityLevel::Reached } else { pb::ProximityLevel::Near };
        let (kind, risk) = if notice.blocked {
            (SignalType::BudgetExhausted, RiskLevel::AtRisk)
        } else {
            (SignalType::BudgetWarning, RiskLevel::NearThreshold)
        };
        self.signal(NewSignal {
            run: notice.run.unwrap_or(0),
            tenant: Some(envelope.tenant_id.clone()),
            kind,
            source: limit.id.clone(),
            level: risk,
            window: notice.period.1,
            metric: limit.spec.unit.name().to_lowercase(),
            unit: limit.spec.unit,
            current: notice.usage,
            limit_value: notice.limit_value,
            permille: permille(notice.usage, notice.limit_value),
            step: None,
            at: now,
        });
        let proximity = Some(pb::LimitProximity {
            limit_id: limit.id.clone(),
            envelope_id: envelope_id.clone(),
            unit: limit.spec.unit.code(),
            current: notice.usage,
            limit_value: notice.limit_value,
            proximity_permille: permille(notice.usage, notice.limit_value),
            level: level as i32,
        });
        if notice.blocked {
            let data = pb::EnvelopeBlocked { envelope_id, proximity };
            publish(self.tx, &caller, "EnvelopeBlocked", about, &data, now);
        } else {
            let data = pb::EnvelopeWarned { envelope_id, proximity };
            publish(self.tx, &caller, "EnvelopeWarned", about, &data, now);
        }
    }

    /// Notes a breach; of equal ones in a period the first stays.
    pub fn breach(&mut self, breach: NewBreach) {
        let same = |b: &NewBreach| {
            (b.run, b.envelope, b.period_start, b.kind)
                == (breach.run, breach.envelope, breach.period_start, breach.kind)
        };
        if !self.breaches.iter().any(same) {
            self.breaches.push(breach);
        }
    }
}

impl Desk<'_> {
    /// The breaches of a run, those of this commit among them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn breaches_of(&mut self, run: i64) -> Result<Vec<pb::LimitProximity>, DbError> {
        let sql = "SELECT envelope_key, period_start, type, value, limit_value FROM breaches WHERE run_key = $1 \
                   ORDER BY breached_at, breach_id";
        let known: Vec<(i64, Micros, i32, i64, i64)> = self.tx.fetch_all(sql, args![run]).await?;
        let keys: Vec<i64> = known.iter().map(|b| b.0).collect();
        self.load_envelopes(&keys).await?;
        let mut rows = known;
        for b in self.breaches.iter().filter(|b| b.run == run) {
            let same = rows.iter().any(|r| (r.0, r.1, r.2) == (b.envelope, b.period_start, b.kind.code()));
            if !same {
                rows.push((b.envelope, b.period_start, b.kind.code(), b.value, b.limit_value));
            }
        }
        Ok(rows.into_iter().filter_map(|row| self.breach_to(row)).collect())
    }

    fn breach_to(
        &self,
        (key, _, kind, current, limit_value): (i64, Micros, i32, i64, i64),
    ) -> Option<pb::LimitProximity> {
        let (limit, envelope) = self.envelope(key)?;
        let violated = kind == pb::BreachType::Violated as i32;
        let level = if violated { pb::ProximityLevel::Violated } else { pb::ProximityLevel::Reached };
        Some(pb::LimitProximity {
            limit_id: limit.id.clone(),
            envelope_id: envelope.envelope_id.clone(),
            unit: limit.spec.unit.code(),
            current,
            limit_value,
            proximity_permille: permille(current, limit_value),
            level: level as i32,
        })
    }
}
