//! Rows as they are stored, and what they mean.

use bytes::Bytes;
use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    account::{Allocation, Period},
    estimate::Amounts,
    freeze::{Freeze, FreezeEffect, FreezeReason, FreezeScope},
    hold::Hold,
    limit::{Key, Limit, RunScope},
    words::{EstimateSource, HoldState, LimitSource, LimitState, ReleaseReason},
};
use runspine_db::DbError;
use runspine_types::{Digest, Micros};

use crate::words::{spec_from, stored};

runspine_db::row! {
    /// A limit.
    #[derive(Debug, Clone)]
    pub struct LimitRow {
        /// Key.
        pub limit_key: i64,
        /// Id.
        pub limit_id: String,
        /// State.
        pub state: i32,
        /// Source.
        pub source: i32,
        /// Version.
        pub version: u32,
        /// The encoded `LimitSpec`.
        pub spec: Bytes,
        /// Birth.
        pub created_at: Micros,
        /// Last change.
        pub updated_at: Micros,
    }
}

impl TryFrom<LimitRow> for Limit {
    type Error = DbError;
    fn try_from(row: LimitRow) -> Result<Self, DbError> {
        let spec = pb::LimitSpec::decode(row.spec).map_err(|_| unreadable("limits.spec"))?;
        Ok(Self {
            key: row.limit_key,
            id: row.limit_id,
            spec: spec_from(&spec).ok_or_else(|| unreadable("limits.spec"))?,
            source: stored(LimitSource::from_code(row.source))?,
            state: stored(LimitState::from_code(row.state))?,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// A stored value that this version can't read.
pub fn unreadable(column: &'static str) -> DbError {
    tracing::error!(column, "a stored value can't be read");
    DbError::Argument("a stored value can't be read")
}

runspine_db::row! {
    /// An envelope.
    #[derive(Debug, Clone)]
    pub struct EnvelopeRow {
        /// Key.
        pub envelope_key: i64,
        /// Id.
        pub envelope_id: String,
        /// Tenant.
        pub tenant_id: String,
        /// The limit behind it.
        pub limit_key: i64,
        /// The scope.
        pub scope: i32,
        /// The scope id.
        pub scope_id: String,
    }
}

runspine_db::row! {
    /// A period of an envelope.
    #[derive(Debug, Clone)]
    pub struct PeriodRow {
        /// Envelope.
        pub envelope_key: i64,
        /// Begin.
        pub period_start: Micros,
        /// End.
        pub period_end: Option<Micros>,
        /// Rolled in.
        pub rollover_in: i64,
        /// Adjusted.
        pub adjusted: i64,
        /// Owed before.
        pub debt_in: i64,
        /// S.
        pub settled: i64,
        /// Sum of G.
        pub granted: i64,
        /// D.
        pub debt: i64,
        /// U.
        pub unfunded: i64,
        /// Rolled out.
        pub rolled_out: i64,
        /// Closed.
        pub closed: bool,
        /// Warned.
        pub warned: bool,
        /// Blocked.
        pub blocked: bool,
    }
}

impl From<PeriodRow> for Period {
    fn from(row: PeriodRow) -> Self {
        Self {
            key: (row.envelope_key, row.period_start),
            end: row.period_end,
            rollover_in: row.rollover_in,
            adjusted: row.adjusted,
            debt_in: row.debt_in,
            settled: row.settled,
            granted: row.granted,
            debt: row.debt,
            unfunded: row.unfunded,
            rolled_out: row.rolled_out,
            closed: row.closed,
            warned: row.warned,
            blocked: row.blocked,
        }
    }
}

runspine_db::row! {
    /// An allocation.
    #[derive(Debug, Clone)]
    pub struct AllocationRow {
        /// Run.
        pub run_key: i64,
        /// Envelope.
        pub envelope_key: i64,
        /// Begin of the period.
        pub period_start: Micros,
        /// G.
        pub granted: i64,
        /// H.
        pub held: i64,
        /// P.
        pub spent: i64,
        /// Used in all.
        pub used: i64,
        /// Not funded.
        pub unfunded: i64,
        /// Whether the escrow is out.
        pub open: bool,
    }
}

impl From<AllocationRow> for Allocation {
    fn from(row: AllocationRow) -> Self {
        Self {
            key: (row.run_key, row.envelope_key, row.period_start),
            granted: row.granted,
            held: row.held,
            spent: row.spent,
            used: row.used,
            unfunded: row.unfunded,
            open: row.open,
        }
    }
}

runspine_db::row! {
    /// The lease that a run's holds live by.
    #[derive(Debug, Clone)]
    pub struct LeaseRow {
        /// Key.
        pub run_key: i64,
        /// Tenant.
        pub tenant_id: String,
        /// Run.
        pub run_id: String,
        /// Attempt.
        pub attempt: u32,
        /// State.
        pub state: i64,
        /// Fence.
        pub fence: u64,
        /// Lapse; none: paused.
        pub expires_at: Option<Micros>,
        /// The encoded `ScopeTuple`.
        pub scope: Bytes,
        /// Failed steps in a row, up to now.
        pub failed_in_row: i64,
        /// The newest epoch under which anything was allowed.
        pub allowed_epoch: u64,
        /// The newest epoch that the agent has named.
        pub epoch_seen: u64,
        /// The worst that was told of its limits.
        pub told: String,
    }
}

/// States of a run's account.
pub mod lease_state {
    /// Known, not admitted.
    pub const SEEN: i64 = 1;
    /// Admitted.
    pub const OPEN: i64 = 2;
    /// Its lease lapsed.
    pub const LAPSED: i64 = 3;
    /// It was settled.
    pub const ENDED: i64 = 4;
}

impl LeaseRow {
    /// The lease of a run that does not exist, for what is asked about a scope.
    #[must_use]
    pub fn of_nobody(tenant: &str, scope: Bytes) -> Self {
        Self {
            run_key: 0,
            tenant_id: tenant.to_owned(),
            run_id: String::new(),
            attempt: 0,
            state: 0,
            fence: 0,
            expires_at: None,
            scope,
            failed_in_row: 0,
            allowed_epoch: 0,
            epoch_seen: 0,
            told: String::new(),
        }
    }

    /// Whom the run is counted under.
    ///
    /// # Errors
    /// When the stored tuple can't be read.
    pub fn tuple(&self) -> Result<pb::ScopeTuple, DbError> {
        pb::ScopeTuple::decode(self.scope.clone()).map_err(|_| unreadable("run_leases.scope"))
    }

    /// The same, as the rules want it.
    ///
    /// # Errors
    /// When the stored tuple can't be read.
    pub fn run_scope(&self) -> Result<RunScope, DbError> {
        scope_of(&self.tenant_id, &self.run_id, &self.scope)
    }

    /// Whether steps are admitted under it.
    #[must_use]
    pub fn is_live(&self, now: Micros) -> bool {
        self.state == lease_state::OPEN && self.expires_at.is_none_or(|at| now < at)
    }
}

/// Whom a run is counted under, from its encoded `ScopeTuple`.
///
/// # Errors
/// When the stored tuple can't be read.
pub fn scope_of(tenant_id: &str, run_id: &str, encoded: &Bytes) -> Result<RunScope, DbError> {
    let tuple = pb::ScopeTuple::decode(encoded.clone()).map_err(|_| unreadable("run_leases.scope"))?;
    Ok(scope_in(tenant_id, run_id, tuple))
}

/// Whom a run is counted under, from its tuple.
#[must_use]
pub fn scope_in(tenant_id: &str, run_id: &str, tuple: pb::ScopeTuple) -> RunScope {
    RunScope {
        tenant_id: tenant_id.to_owned(),
        run_id: run_id.to_owned(),
        project_id: tuple.project_id,
        agent_id: tuple.agent_id,
        agent_groups: tuple.agent_groups,
        api_key_id: tuple.api_key_id,
        human_actor_id: tuple.human_actor_id,
        provider: tuple.provider,
        model: tuple.model,
        tool: String::new(),
    }
}

runspine_db::row! {
    /// A hold.
    #[derive(Debug, Clone)]
    pub struct HoldRow {
        /// Run.
        pub run_key: i64,
        /// Step.
        pub step_index: i64,
        /// Ask.
        pub ask: i64,
        /// Id.
        pub hold_id: String,
        /// State.
        pub state: i32,
        /// Cost.
        pub cost_microusd: i64,
        /// Input tokens.
        pub tokens_input: i64,
        /// Output tokens.
        pub tokens_output: i64,
        /// Duration.
        pub duration_ms: i64,
        /// Source of the estimate.
        pub source: i32,
        /// Extensions so far.
        pub extensions: u32,
        /// Whether the outcome is not known.
        pub ambiguous: bool,
        /// Why it was released.
        pub released_for: Option<i32>,
        /// Digest of the settling request.
        pub settle_digest: Option<Digest>,
        /// Its answer.
        pub settle_answer: Option<Bytes>,
    }
}

impl HoldRow {
    /// The hold, its lines still to be added.
    ///
    /// # Errors
    /// When a stored word is not known.
    pub fn hold(&self) -> Result<Hold, DbError> {
        Ok(Hold {
            key: (self.run_key, self.step_index, self.ask),
            id: self.hold_id.clone(),
            state: stored(HoldState::from_code(self.state))?,
            amounts: Amounts {
                cost_microusd: self.cost_microusd,
                tokens_input: self.tokens_input,
                tokens_output: self.tokens_output,
                duration_ms: self.duration_ms,
                count: 1,
            },
            source: stored(EstimateSource::from_code(self.source))?,
            extensions: self.extensions,
            ambiguous: self.ambiguous,
            released_for: self.released_for.and_then(ReleaseReason::from_code),
            lines: Vec::new(),
        })
    }
}

runspine_db::row! {
    /// An admission that was answered.
    #[derive(Debug, Clone)]
    pub struct AskRow {
        /// Run.
        pub run_key: i64,
        /// Step, -1 for the run.
        pub step_index: i64,
        /// Ask.
        pub ask: i64,
        /// What was answered.
        pub verdict: i32,
        /// Digest of the question.
        pub request_digest: Digest,
        /// The encoded answer.
        pub answer: Bytes,
        /// When.
        pub evaluated_at: Micros,
    }
}

runspine_db::row! {
    /// A freeze.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct FreezeRow {
        pub freeze_id: String,
        pub tenant_id: String,
        pub scope: i32,
        pub scope_id: String,
        pub effect: i32,
        pub reason: i32,
        pub note: String,
        pub actor_id: String,
        pub epoch: u64,
        pub committed_at: Micros,
        pub expires_at: Option<Micros>,
        pub runs_in_scope: i64,
        pub open: bool,
        pub lifted_by: String,
        pub lifted_at: Option<Micros>,
        pub lifted_epoch: u64,
        pub auto: bool,
    }
}

impl FreezeRow {
    /// The freeze, as the rules want it.
    ///
    /// # Errors
    /// When a stored word is not known.
    pub fn freeze(&self) -> Result<Freeze, DbError> {
        Ok(Freeze {
            id: self.freeze_id.clone(),
            tenant_id: self.tenant_id.clone(),
            scope: stored(FreezeScope::from_code(self.scope))?,
            scope_id: self.scope_id.clone(),
            effect: stored(FreezeEffect::from_code(self.effect))?,
            reason: stored(FreezeReason::from_code(self.reason))?,
            epoch: self.epoch,
            expires_at: self.expires_at,
            lifted: self.lifted_at.is_some(),
        })
    }
}

/// A limit's key and the scope id of its envelope.
pub type EnvelopeName = (Key, String);
