//! The governance profile: resolved once, with the overrides that the code honours, under a version and a digest.

use std::fmt::Write as _;

use contracts_common::common::v1::GovernanceProfile;
use runspine_types::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::{BootError, ConfigProblem};

/// What happens at a step when a decider can't decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnDeciderFailure {
    /// Allowed, recorded.
    AllowRecorded,
    /// Allowed, and the run is marked DEGRADED.
    AllowDegraded,
    /// Denied.
    Deny,
}

/// What happens with a report of a step that was not authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnauthorizedStep {
    /// Recorded with `unauthorized = true`.
    Record,
    /// Refused.
    Refuse,
}

/// The section `profile` of the configuration. Empty texts leave the profile's own value.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// STRICT, STANDARD (default) or OBSERVE_ONLY.
    pub name: String,
    /// Override of [`Profile::on_decider_failure`], towards DENY only.
    pub on_decider_failure: String,
    /// Override of [`Profile::unauthorized_step`], towards REFUSE only.
    pub unauthorized_step: String,
    /// Set by the profile alone.
    pub enforcement: String,
    /// A law: on.
    pub run_kernel: bool,
    /// A law: on.
    pub audit_contract: bool,
    /// A law: on.
    pub completion_saga: bool,
    /// A law: on.
    pub undo_audit: bool,
    /// A law: on.
    pub durable_before_answer: bool,
    /// A law: on.
    pub phase_status_check: bool,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            name: "STANDARD".to_owned(),
            on_decider_failure: String::new(),
            unauthorized_step: String::new(),
            enforcement: String::new(),
            run_kernel: true,
            audit_contract: true,
            completion_saga: true,
            undo_audit: true,
            durable_before_answer: true,
            phase_status_check: true,
        }
    }
}

/// The profile in force. Every run carries its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Which one.
    pub name: GovernanceProfile,
    /// Whether findings block; false only in OBSERVE_ONLY.
    pub blocks: bool,
    /// What happens when a decider can't decide.
    pub on_decider_failure: OnDeciderFailure,
    /// What happens with a step that was not authorized.
    pub unauthorized_step: UnauthorizedStep,
    /// Version of the resolved configuration: the first 12 hex characters of its digest after `p1-`.
    pub version: String,
    /// Digest of [`Profile::text`].
    pub digest: Digest,
    /// The resolved flags, one `name=value` a line, in order.
    pub text: String,
}

impl Profile {
    /// Resolves a profile with its overrides.
    ///
    /// # Errors
    /// With every impossible combination at once.
    pub fn resolve(config: &ProfileConfig) -> Result<Self, BootError> {
        let mut problems = laws(config);
        let name = name(&config.name);
        if name.is_none() {
            let text = format!("{:?} is none of STRICT, STANDARD, OBSERVE_ONLY", config.name);
            problems.push(ConfigProblem::new("profile.name", "CONFIG_UNKNOWN", text));
        }
        let name = name.unwrap_or(GovernanceProfile::Strict);
        let (failure, step) = base(name);
        let failure = tightened(
            "profile.on_decider_failure",
            &config.on_decider_failure,
            failure,
            failure_of,
            &mut problems,
        );
        let step =
            tightened("profile.unauthorized_step", &config.unauthorized_step, step, step_of, &mut problems);
        if !config.enforcement.is_empty() {
            let text = "enforcement follows the profile and can't be set by hand";
            problems.push(ConfigProblem::new("profile.enforcement", "FLAG_LOOSENED", text));
        }
        if problems.is_empty() {
            Ok(Self::resolved(name, failure, step))
        } else {
            Err(BootError::Config(problems))
        }
    }

    fn resolved(name: GovernanceProfile, failure: OnDeciderFailure, step: UnauthorizedStep) -> Self {
        let blocks = name != GovernanceProfile::ObserveOnly;
        let mut text = String::new();
        let _ = writeln!(text, "profile={}", name.as_str_name());
        let _ = writeln!(text, "enforcement={}", if blocks { "BLOCK" } else { "OBSERVE" });
        let _ = writeln!(text, "on_decider_failure={failure:?}");
        let _ = writeln!(text, "unauthorized_step={step:?}");
        let digest = Hasher::new("runspine.profile.v1").sized(text.as_bytes()).finish();
        let version = format!("p1-{}", &digest.to_hex()[..12]);
        Self { name, blocks, on_decider_failure: failure, unauthorized_step: step, version, digest, text }
    }
}

impl Default for Profile {
    fn default() -> Self {
        let (failure, step) = base(GovernanceProfile::Standard);
        Self::resolved(GovernanceProfile::Standard, failure, step)
    }
}

fn laws(config: &ProfileConfig) -> Vec<ConfigProblem> {
    let laws = [
        ("run_kernel", config.run_kernel),
        ("audit_contract", config.audit_contract),
        ("completion_saga", config.completion_saga),
        ("undo_audit", config.undo_audit),
        ("durable_before_answer", config.durable_before_answer),
        ("phase_status_check", config.phase_status_check),
    ];
    let off = laws.into_iter().filter(|(_, on)| !on);
    off.map(|(law, _)| ConfigProblem::new(format!("profile.{law}"), "FLAG_IS_LAW", "can't be switched off"))
        .collect()
}

fn name(text: &str) -> Option<GovernanceProfile> {
    match text {
        "STRICT" => Some(GovernanceProfile::Strict),
        "STANDARD" => Some(GovernanceProfile::Standard),
        "OBSERVE_ONLY" => Some(GovernanceProfile::ObserveOnly),
        _ => None,
    }
}

fn base(name: GovernanceProfile) -> (OnDeciderFailure, UnauthorizedStep) {
    match name {
        GovernanceProfile::Standard => (OnDeciderFailure::AllowDegraded, UnauthorizedStep::Record),
        GovernanceProfile::ObserveOnly => (OnDeciderFailure::AllowRecorded, UnauthorizedStep::Record),
        GovernanceProfile::Strict | GovernanceProfile::Unspecified => {
            (OnDeciderFailure::Deny, UnauthorizedStep::Refuse)
        }
    }
}

fn failure_of(text: &str) -> Option<OnDeciderFailure> {
    match text {
        "DENY" => Some(OnDeciderFailure::Deny),
        "ALLOW_DEGRADED" => Some(OnDeciderFailure::AllowDegraded),
        "ALLOW_RECORDED" => Some(OnDeciderFailure::AllowRecorded),
        _ => None,
    }
}

fn step_of(text: &str) -> Option<UnauthorizedStep> {
    match text {
        "REFUSE" => Some(UnauthorizedStep::Refuse),
        "RECORD" => Some(UnauthorizedStep::Record),
        _ => None,
    }
}

fn tightened<T: Ord + Copy>(
    key: &str,
    text: &str,
    own: T,
    read: fn(&str) -> Option<T>,
    problems: &mut Vec<ConfigProblem>,
) -> T {
    if text.is_empty() {
        return own;
    }
    match read(text) {
        Some(wanted) if wanted >= own => wanted,
        Some(_) => {
            let what = format!("{text} is looser than the profile");
            problems.push(ConfigProblem::new(key, "FLAG_LOOSENED", what));
            own
        }
        None => {
            problems.push(ConfigProblem::new(
                key,
                "CONFIG_UNKNOWN",
                format!("{text:?} is no value of this flag"),
            ));
            own
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(config: &ProfileConfig) -> Vec<&'static str> {
        match Profile::resolve(config) {
            Ok(_) => Vec::new(),
            Err(BootError::Config(problems)) => problems.iter().map(|p| p.code).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_three_profiles_differ_and_their_digests_are_stable() -> Result<(), BootError> {
        let resolve =
            |name: &str| Profile::resolve(&ProfileConfig { name: name.into(), ..Default::default() });
        let (strict, standard, observe) =
            (resolve("STRICT")?, resolve("STANDARD")?, resolve("OBSERVE_ONLY")?);
        assert_eq!((strict.blocks, standard.blocks, observe.blocks), (true, true, false));
        assert_eq!(strict.on_decider_failure, OnDeciderFailure::Deny);
        assert_eq!(standard, Profile::default());
        assert!(strict.digest != standard.digest && standard.digest != observe.digest);
        assert_eq!(resolve("STRICT")?, strict);
        Ok(())
    }

    #[test]
    fn overrides_tighten_only() {
        let with = |name: &str, failure: &str| ProfileConfig {
            name: name.into(),
            on_decider_failure: failure.into(),
            ..Default::default()
        };
        assert_eq!(codes(&with("STANDARD", "DENY")), Vec::<&str>::new());
        assert_eq!(codes(&with("STRICT", "ALLOW_DEGRADED")), ["FLAG_LOOSENED"]);
        assert_eq!(codes(&with("STANDARD", "MAYBE")), ["CONFIG_UNKNOWN"]);
    }

    #[test]
    fn all_impossible_combinations_are_told_together() {
        let config = ProfileConfig {
            name: "LAX".into(),
            unauthorized_step: "RECORD".into(),
            enforcement: "OBSERVE".into(),
            run_kernel: false,
            durable_before_answer: false,
            ..Default::default()
        };
        let found = codes(&config);
        assert_eq!(found, ["FLAG_IS_LAW", "FLAG_IS_LAW", "CONFIG_UNKNOWN", "FLAG_LOOSENED", "FLAG_LOOSENED"]);
    }
}
