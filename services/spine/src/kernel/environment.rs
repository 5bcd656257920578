//! What an agent says about its environment, as evidence.

use contracts_logs::v1::{
    EnvironmentEvidence, EnvironmentTier, EvidenceContext, EvidenceFailureReason, EvidenceFailureReport,
    EvidenceKind, EvidenceResolution, EvidenceSource, SdkMode, capture_evidence_request::Body,
};
use contracts_spine::v1::{RunCharter, RunEnvironment};
use runspine_rpc::Context;

/// On whose behalf evidence is captured.
pub(crate) fn context(context: &Context, charter: &RunCharter) -> EvidenceContext {
    EvidenceContext {
        run_id: charter.run_id.clone(),
        attempt: charter.attempt,
        source: EvidenceSource::Sdk.into(),
        policy_snapshot_id: String::new(),
        actor: Some(super::ledger::actor(context)),
    }
}

/// The environment as told; untold, the fact that it was not.
pub(crate) fn body(told: Option<&RunEnvironment>) -> Body {
    let Some(told) = told else {
        return Body::Failure(EvidenceFailureReport {
            kind: EvidenceKind::Environment.into(),
            reason: EvidenceFailureReason::CaptureFailed.into(),
            detail: "the start named no environment".to_owned(),
            resolution: EvidenceResolution::Permanent.into(),
        });
    };
    Body::Environment(EnvironmentEvidence {
        sdk_mode: mode(&told.sdk_mode).into(),
        sdk_version: told.sdk_version.clone(),
        environment: tier(&told.environment).into(),
        ..EnvironmentEvidence::default()
    })
}

fn mode(name: &str) -> SdkMode {
    SdkMode::from_str_name(&format!("SDK_MODE_{name}")).unwrap_or(SdkMode::Unspecified)
}

fn tier(name: &str) -> EnvironmentTier {
    EnvironmentTier::from_str_name(&format!("ENVIRONMENT_TIER_{name}"))
        .unwrap_or(EnvironmentTier::Unspecified)
}

/// Whether the words of an environment are known.
pub(crate) fn is_known(told: &RunEnvironment) -> bool {
    mode(&told.sdk_mode) != SdkMode::Unspecified && tier(&told.environment) != EnvironmentTier::Unspecified
}
