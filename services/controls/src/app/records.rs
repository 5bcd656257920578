//! What a call leaves behind besides its effect.

use bytes::Bytes;
use runspine_controls_domain::{
    hold::HoldKey,
    limit::Key,
    signal::{RiskLevel, SignalType},
    words::{BreachType, Unit},
};
use runspine_rpc::Context;
use runspine_types::{Digest, Micros};

/// An admission, as it is recorded.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Evidence {
    pub key: HoldKey,
    pub evidence_id: String,
    pub decision_id: String,
    pub fence: u64,
    pub verdict: i32,
    pub plain: bool,
    pub resolver_version: u32,
    pub inputs: Vec<u8>,
    pub inputs_digest: Digest,
    pub request_digest: Digest,
    pub answer: Bytes,
    pub evaluated_at: Micros,
    pub freeze_epoch: u64,
    /// The hold that it granted.
    pub hold_id: Option<String>,
}

/// A breach; of equal ones the first stays.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewBreach {
    pub envelope: Key,
    pub period_start: Micros,
    /// 0: no run.
    pub run: Key,
    pub step: Option<u32>,
    pub kind: BreachType,
    pub value: i64,
    pub limit_value: i64,
    /// The override that covers it.
    pub override_id: Option<String>,
    /// Whether a guardrail that freezes does so: what was only observed orders nothing.
    pub orders: bool,
    pub at: Micros,
}

/// A signal; of equal ones of a run the first stays.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NewSignal {
    /// 0: no run.
    pub run: Key,
    /// Whose it is when there is no run.
    pub tenant: Option<String>,
    pub kind: SignalType,
    /// The limit, or the key of a default.
    pub source: String,
    pub level: RiskLevel,
    /// Begin of a budget's period; else 0.
    pub window: Micros,
    pub metric: String,
    pub unit: Unit,
    pub current: i64,
    pub limit_value: i64,
    pub permille: u32,
    pub step: Option<u32>,
    pub at: Micros,
}

/// Who acts, for whom, and why it came about.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The tenant.
    pub tenant_id: String,
    /// What kind of actor.
    pub actor_type: i32,
    /// Who.
    pub actor_id: String,
    /// The profile in force.
    pub profile: i32,
    /// Joins what one client call led to.
    pub correlation_id: String,
    /// What caused it.
    pub causation_id: String,
    /// Digest of the configuration.
    pub config_digest: Bytes,
}

impl Caller {
    /// The mesh itself, for what no call caused.
    #[must_use]
    pub fn mesh(tenant_id: &str) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            actor_type: contracts_common::common::v1::ActorType::System as i32,
            actor_id: "controls".to_owned(),
            ..Self::default()
        }
    }
}

impl From<&Context> for Caller {
    fn from(context: &Context) -> Self {
        let actor = context.actor.clone().unwrap_or_default();
        Self {
            tenant_id: context.tenant_id.clone(),
            actor_type: actor.r#type,
            actor_id: actor.id,
            profile: context.profile,
            correlation_id: context.correlation_id.clone(),
            causation_id: context.causation_id.clone(),
            config_digest: context.config_digest.clone(),
        }
    }
}
