//! Envelopes are adjusted, suspended and resumed by order.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{account::PeriodKey, limit::Limit, reasons};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use super::{
    App, defect,
    limits::Keyed,
    present::{envelope_to, is_archived},
};
use crate::store::{
    adjustments::{self, AdjustmentRow},
    caches::Caches,
    desk::Desk,
    events::{About, publish},
    limits::{bump, mark},
    locks::Locking,
    rows::EnvelopeRow,
    views::EnvelopeView,
};

/// How long a large adjustment waits for a second person.
const WAITS_MS: i64 = 86_400_000;

impl App {
    /// Adjusts the current period of an envelope, or notes the wish where a second person has to approve.
    ///
    /// # Errors
    /// `ENVELOPE_NOT_FOUND`, `BUDGET_ARCHIVED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn adjust_envelope(
        &self,
        keyed: Keyed,
        envelope_id: String,
        amount: i64,
        reason: String,
    ) -> Result<pb::AdjustEnvelopeResponse, Fault> {
        let now = self.clock.now();
        self.db
            .write("adjust_envelope", move |tx| Box::pin(adjust(tx, keyed, envelope_id, amount, reason, now)))
            .await
    }

    /// The second person applies an adjustment.
    ///
    /// # Errors
    /// `ENVELOPE_NOT_FOUND`, `BUDGET_ARCHIVED`, `SELF_APPROVAL`, `SECOND_PERSON_REQUIRED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn approve_adjustment(
        &self,
        keyed: Keyed,
        adjustment_id: String,
    ) -> Result<pb::ApproveAdjustmentResponse, Fault> {
        let now = self.clock.now();
        self.db.write("approve_adjustment", move |tx| Box::pin(approve(tx, keyed, adjustment_id, now))).await
    }

    /// Suspends an envelope, or lets it give again.
    ///
    /// # Errors
    /// `ENVELOPE_NOT_FOUND`, `BUDGET_ARCHIVED`, `IDEMPOTENCY_MISMATCH`.
    pub async fn suspend_envelope(
        &self,
        keyed: Keyed,
        envelope_id: String,
        suspended: bool,
        reason: String,
    ) -> Result<pb::Envelope, Fault> {
        let now = self.clock.now();
        self.db
            .write("suspend_envelope", move |tx| {
                Box::pin(suspend(tx, keyed, envelope_id, suspended, reason, now))
            })
            .await
    }
}

/// An envelope that is worked on.
struct Case<'a> {
    desk: Desk<'a>,
    row: EnvelopeRow,
    limit: Limit,
    period: PeriodKey,
}

async fn open<'a>(
    tx: &'a mut Tx,
    caches: &'a Caches,
    row: EnvelopeRow,
    now: Micros,
) -> Result<Case<'a>, Fault> {
    let mut desk = Desk::open(tx, caches, &[&row.tenant_id], Locking::AsNeeded, now).await?;
    desk.load_envelopes(&[row.envelope_key]).await?;
    let (limit, _) = desk.envelope(row.envelope_key).ok_or_else(|| defect("an envelope without a limit"))?;
    if is_archived(&limit, now) {
        let text =
            "the limit behind the envelope was disabled 90 days ago or more; the envelope is read only";
        return Err(Fault::new(&reasons::BUDGET_ARCHIVED, text)
            .with("limit_id", &limit.id)
            .precondition(format!("envelopes/{}", row.envelope_id), "the limit is enabled"));
    }
    let key = row.envelope_key;
    let period = desk.with_book(|book| book.current(key, now)).await?;
    Ok(Case { desk, row, limit: limit.as_ref().clone(), period })
}

impl Case<'_> {
    async fn apply(&mut self, amount: i64, actor: &str) -> Result<(), Fault> {
        let period = self.period;
        self.desk.actor = Some(actor.to_owned());
        self.desk.with_book(|book| book.adjust(period, amount)).await
    }

    /// The envelope as it is now, and everything written.
    async fn close(self, suspended: bool, now: Micros) -> Result<pb::Envelope, Fault> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM allocations \
                   WHERE envelope_key = $1 AND period_start = $2 AND open = 1";
        let args = runspine_db::args![self.period.0, self.period.1];
        let (open, held): (i64, i64) = self.desk.tx.fetch_one(sql, args).await?;
        let period = self.desk.book.period(self.period).copied().ok_or_else(|| defect("a period is gone"))?;
        let spent = self.desk.book.open_spent(self.period);
        let view =
            EnvelopeView { envelope: self.row, limit: self.limit, period, open, held, spent, suspended };
        self.desk.flush(now).await?;
        Ok(envelope_to(&view, now))
    }
}

fn unknown(id: &str) -> Fault {
    Fault::new(&reasons::ENVELOPE_NOT_FOUND, "no such envelope of a budget").with("id", id)
}

async fn adjust(
    tx: &mut Tx,
    keyed: Keyed,
    envelope_id: String,
    amount: i64,
    reason: String,
    now: Micros,
) -> Result<pb::AdjustEnvelopeResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let (tenant, actor) = (keyed.caller.tenant_id.clone(), keyed.caller.actor_id.clone());
    let row = adjustments::envelope(tx, &tenant, &envelope_id).await?.ok_or_else(|| unknown(&envelope_id))?;
    let suspended = is_suspended(tx, &row).await?;
    let caches = Caches::default();
    let mut case = open(tx, &caches, row, now).await?;
    // Above 20 % of the limit one person is not enough.
    let large = i128::from(amount).abs() * 5 > i128::from(case.limit.spec.max_value);
    let adjustment_id = new_id();
    let key = case.row.envelope_key;
    if !large {
        case.apply(amount, &actor).await?;
    }
    let envelope = case.close(suspended, now).await?;
    let mut state = pb::AdjustmentState::Applied;
    if large {
        state = pb::AdjustmentState::Pending;
        let requested_by = actor.clone();
        let row = AdjustmentRow {
            adjustment_id: adjustment_id.clone(),
            envelope_key: key,
            amount,
            reason: reason.clone(),
            requested_by,
            requested_at: now,
        };
        adjustments::add(tx, &tenant, &row).await?;
    }
    let adjustment = pb::Adjustment {
        adjustment_id,
        envelope_id: envelope.envelope_id.clone(),
        amount,
        reason,
        requested_by: actor,
        approved_by: String::new(),
        state: state as i32,
        expires_at: large.then(|| timestamp(now.plus_millis(WAITS_MS))),
    };
    tell(tx, &keyed, &adjustment, now);
    let response = pb::AdjustEnvelopeResponse { envelope: Some(envelope), adjustment: Some(adjustment) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn approve(
    tx: &mut Tx,
    keyed: Keyed,
    adjustment_id: String,
    now: Micros,
) -> Result<pb::ApproveAdjustmentResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let (tenant, actor) = (keyed.caller.tenant_id.clone(), keyed.caller.actor_id.clone());
    let (wish, approved) =
        adjustments::one(tx, &tenant, &adjustment_id).await?.ok_or_else(|| unknown(&adjustment_id))?;
    if wish.requested_by == actor {
        return Err(Fault::new(&reasons::SELF_APPROVAL, "nobody approves what he asked for"));
    }
    if approved || now.millis_since(wish.requested_at) >= WAITS_MS {
        let text = "the adjustment was applied, or has waited for more than 24 hours";
        return Err(Fault::new(&reasons::SECOND_PERSON_REQUIRED, text));
    }
    let row = adjustments::envelope_by_key(tx, &tenant, wish.envelope_key).await?;
    let row = row.ok_or_else(|| unknown(&adjustment_id))?;
    let suspended = is_suspended(tx, &row).await?;
    let caches = Caches::default();
    let mut case = open(tx, &caches, row, now).await?;
    case.apply(wish.amount, &actor).await?;
    let envelope = case.close(suspended, now).await?;
    adjustments::approve(tx, &adjustment_id, &actor, now).await?;
    let adjustment = pb::Adjustment {
        adjustment_id,
        envelope_id: envelope.envelope_id.clone(),
        amount: wish.amount,
        reason: wish.reason,
        requested_by: wish.requested_by,
        approved_by: actor,
        state: pb::AdjustmentState::Applied as i32,
        expires_at: None,
    };
    tell(tx, &keyed, &adjustment, now);
    let response = pb::ApproveAdjustmentResponse { envelope: Some(envelope), adjustment: Some(adjustment) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

async fn is_suspended(tx: &mut Tx, row: &EnvelopeRow) -> Result<bool, Fault> {
    let sql = "SELECT suspended FROM envelopes WHERE envelope_key = $1";
    Ok(tx.fetch_one::<(bool,)>(sql, runspine_db::args![row.envelope_key]).await?.0)
}

fn tell(tx: &mut Tx, keyed: &Keyed, adjustment: &pb::Adjustment, now: Micros) {
    let about = About {
        entity_type: "envelope",
        entity_id: adjustment.envelope_id.clone(),
        reason: adjustment.reason.clone(),
        ..About::default()
    };
    let data = pb::EnvelopeAdjusted { adjustment: Some(adjustment.clone()) };
    publish(tx, &keyed.caller, "EnvelopeAdjusted", about, &data, now);
}

async fn suspend(
    tx: &mut Tx,
    keyed: Keyed,
    envelope_id: String,
    suspended: bool,
    reason: String,
    now: Micros,
) -> Result<pb::Envelope, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let tenant = keyed.caller.tenant_id.clone();
    // The mark first: its row waits for admissions under way.
    bump(tx, &mark(&tenant)).await?;
    let row = adjustments::envelope(tx, &tenant, &envelope_id).await?.ok_or_else(|| unknown(&envelope_id))?;
    let changed = adjustments::suspend(tx, row.envelope_key, suspended).await?;
    let caches = Caches::default();
    let envelope = open(tx, &caches, row, now).await?.close(suspended, now).await?;
    if changed {
        let entity_id = envelope_id.clone();
        let about = About { entity_type: "envelope", entity_id, reason, ..About::default() };
        if suspended {
            publish(
                tx,
                &keyed.caller,
                "EnvelopeSuspended",
                about,
                &pb::EnvelopeSuspended { envelope_id },
                now,
            );
        } else {
            publish(tx, &keyed.caller, "EnvelopeResumed", about, &pb::EnvelopeResumed { envelope_id }, now);
        }
    }
    keyed.keep(tx, &envelope, now).await?;
    Ok(envelope)
}
