//! What an agent says about its environment, as evidence.

use contracts_logs::v1::{
    EnvironmentEvidence, EnvironmentTier, EvidenceFailureReason, EvidenceFailureReport, EvidenceKind,
    EvidenceResolution, SdkMode, capture_evidence_request::Body,
};
use contracts_spine::v1::RunEnvironment;

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
