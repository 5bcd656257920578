//! What a check found.

use crate::{
    book::Refusal,
    breaker::{BreakerCause, BreakerTarget},
    freeze::{Freeze, FreezeEffect},
    limit::Limit,
    rate::{Bucket, Short},
    threshold::Passed,
    words::{Consequence, Directive, Profile, Verdict},
};

/// A freeze in scope.
pub const FROZEN: &str = "FROZEN";
/// The run's lease lapsed, or its account is ended.
pub const LEASE_LAPSED: &str = "LEASE_LAPSED";
/// The breaker of what the step would use is open.
pub const BREAKER_OPEN: &str = "BREAKER_OPEN";
/// A bucket has not enough yet.
pub const RATE_LIMITED: &str = "RATE_LIMITED";
/// A bucket never holds so much.
pub const RATE_UNSATISFIABLE: &str = "RATE_UNSATISFIABLE";
/// All slots are taken.
pub const CONCURRENCY_EXCEEDED: &str = "CONCURRENCY_EXCEEDED";
/// The attempt would pass a threshold.
pub const THRESHOLD_EXCEEDED: &str = "THRESHOLD_EXCEEDED";
/// An envelope can't give what is needed.
pub const BUDGET_EXCEEDED: &str = "BUDGET_EXCEEDED";
/// An actor suspended an envelope.
pub const BUDGET_SUSPENDED: &str = "BUDGET_SUSPENDED";
/// An envelope gives nothing before its debt is paid.
pub const DEBT_OUTSTANDING: &str = "DEBT_OUTSTANDING";
/// Use went past the overdraft too.
pub const OVERDRAFT_LIMIT_EXCEEDED: &str = "OVERDRAFT_LIMIT_EXCEEDED";
/// A check could not be made.
pub const CONTROL_ERROR: &str = "CONTROL_ERROR";

/// The check that found something, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// A freeze.
    Freeze,
    /// The lease.
    Lease,
    /// A circuit breaker.
    Breaker,
    /// A rate or a number at one time.
    Rate,
    /// A threshold or guardrail.
    Threshold,
    /// A budget.
    Budget,
    /// Not one of them: that they could not all be made.
    Failure,
}

impl Check {
    /// Its name and its place before the rules of policies: to the kernel all limits are one check.
    #[must_use]
    pub fn label(self) -> (&'static str, i32) {
        match self {
            Self::Freeze => ("FREEZE", -4),
            Self::Lease => ("LEASE", -2),
            Self::Breaker | Self::Rate | Self::Threshold | Self::Budget | Self::Failure => ("LIMITS", -1),
        }
    }
}

/// A restriction: its name and arguments.
pub type Obligation = (&'static str, Vec<String>);

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// The reason code.
    pub code: &'static str,
    /// The limit or freeze.
    pub source_id: String,
    /// Version of the limit; 0: none.
    pub version: u32,
    /// What it asks for.
    pub verdict: Verdict,
    /// What the run is told.
    pub directive: Directive,
    /// Orders equal verdicts: the scope's rank.
    pub rank: u8,
    /// Present value, limit value and unit.
    pub numbers: Option<(i64, i64, &'static str)>,
    /// When asking again can help, if it is known.
    pub retry_after_ms: Option<i64>,
    /// What goes with MODIFY.
    pub obligations: Vec<Obligation>,
    /// For a person.
    pub message: String,
}

impl Finding {
    /// An order or a fact: it denies, whatever the profile.
    fn order(
        check: Check,
        code: &'static str,
        source_id: &str,
        directive: Directive,
        message: String,
    ) -> Self {
        Self {
            check,
            code,
            source_id: source_id.to_owned(),
            version: 0,
            verdict: Verdict::Deny,
            directive,
            rank: 0,
            numbers: None,
            retry_after_ms: None,
            obligations: Vec::new(),
            message,
        }
    }

    /// What a limit says: `verdict` is what its enforcement comes to.
    #[must_use]
    pub fn of_limit(
        limit: &Limit,
        (check, code): (Check, &'static str),
        verdict: Verdict,
        (current, limit_value): (i64, i64),
        message: String,
    ) -> Self {
        let abort = limit.spec.consequence == Consequence::Abort && verdict == Verdict::Deny;
        let degrades = verdict == Verdict::Modify;
        Self {
            check,
            code,
            source_id: limit.id.clone(),
            version: limit.version,
            verdict,
            directive: if abort { Directive::Terminate } else { Directive::Continue },
            rank: limit.spec.scope.rank(),
            numbers: Some((current, limit_value, limit.spec.unit.name())),
            retry_after_ms: None,
            obligations: if degrades { limit.spec.degrade.obligations() } else { Vec::new() },
            message,
        }
    }
}

/// What a refusal of an envelope says.
#[must_use]
pub fn budget_finding(limit: &Limit, refusal: &Refusal, verdict: Verdict) -> Finding {
    let code = if refusal.in_debt { DEBT_OUTSTANDING } else { BUDGET_EXCEEDED };
    let unit = limit.spec.unit.name();
    let message = format!(
        "{} {unit} are needed, {} are available of the {} of \"{}\"",
        refusal.need, refusal.reservable, refusal.limit_value, limit.spec.name
    );
    Finding::of_limit(limit, (Check::Budget, code), verdict, (refusal.usage, refusal.limit_value), message)
}

/// What an envelope that was suspended says.
#[must_use]
pub fn suspended_finding(limit: &Limit, scope_id: &str, verdict: Verdict) -> Finding {
    let message = format!("the envelope of \"{}\" for {scope_id} is suspended", limit.spec.name);
    let numbers = (0, limit.spec.max_value);
    Finding::of_limit(limit, (Check::Budget, BUDGET_SUSPENDED), verdict, numbers, message)
}

/// What a bucket that gives nothing says.
#[must_use]
pub fn rate_finding(limit: &Limit, bucket: &Bucket, tokens: i64, short: Short, verdict: Verdict) -> Finding {
    let (code, wait) = match short {
        Short::Wait(ms) => (RATE_LIMITED, Some(ms)),
        Short::Never => (RATE_UNSATISFIABLE, None),
    };
    let (unit, spec) = (limit.spec.unit.name(), &limit.spec);
    let message = format!(
        "{tokens} {unit} are needed, {} are in the bucket of \"{}\" ({} in {} s)",
        bucket.tokens(),
        spec.name,
        spec.max_value,
        spec.window_s
    );
    let numbers = (spec.burst - bucket.tokens(), spec.burst);
    let finding = Finding::of_limit(limit, (Check::Rate, code), verdict, numbers, message);
    Finding { retry_after_ms: wait, ..finding }
}

/// What a limit without a free slot says.
#[must_use]
pub fn slot_finding(limit: &Limit, taken: i64, verdict: Verdict) -> Finding {
    let most = limit.spec.max_value;
    let message = format!("{taken} of the {most} slots of \"{}\" are taken", limit.spec.name);
    Finding::of_limit(limit, (Check::Rate, CONCURRENCY_EXCEEDED), verdict, (taken, most), message)
}

/// What a threshold that a step would pass says.
#[must_use]
pub fn threshold_finding(limit: &Limit, passed: &Passed, verdict: Verdict) -> Finding {
    let message = format!(
        "{}: {} with this step, {} are allowed by \"{}\"",
        passed.bound.name(),
        passed.would_be,
        passed.limit_value,
        limit.spec.name
    );
    let (used, most) = (passed.used, passed.limit_value);
    let finding =
        Finding::of_limit(limit, (Check::Threshold, THRESHOLD_EXCEEDED), verdict, (used, most), message);
    Finding { numbers: Some((used, most, passed.bound.unit().name())), ..finding }
}

/// A breaker that an admission has met, and that does not let it pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutBreaker {
    /// Its id.
    pub id: String,
    /// What is behind it.
    pub target: BreakerTarget,
    /// Which one.
    pub target_id: String,
    /// Why it is open.
    pub cause: BreakerCause,
    /// The model to be used instead. Empty: none.
    pub fallback_model: String,
    /// When asking again can help.
    pub retry_after_ms: Option<i64>,
}

impl ShutBreaker {
    /// What it asks for: another model where there is one.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.fallback_model.is_empty() { Verdict::Deny } else { Verdict::Modify }
    }
}

/// What an open breaker says.
#[must_use]
pub fn breaker_finding(shut: &ShutBreaker) -> Finding {
    let message = format!("the breaker of {} {} is open", shut.target.name(), shut.target_id);
    let verdict = shut.verdict();
    let instead = ("use_model", vec![shut.fallback_model.clone()]);
    Finding {
        verdict,
        retry_after_ms: shut.retry_after_ms,
        obligations: if verdict == Verdict::Modify { vec![instead] } else { Vec::new() },
        ..Finding::order(Check::Breaker, BREAKER_OPEN, &shut.id, Directive::Continue, message)
    }
}

/// What a freeze says.
#[must_use]
pub fn freeze_finding(freeze: &Freeze) -> Finding {
    let message = format!("{} is frozen: {}", freeze.scope.name(), freeze.reason.name());
    freeze_order(&freeze.id, freeze.effect, message)
}

/// What a freeze of which only id and effect are known says.
#[must_use]
pub fn freeze_order(id: &str, effect: FreezeEffect, message: String) -> Finding {
    let directive = match effect {
        FreezeEffect::Pause => Directive::Pause,
        FreezeEffect::Terminate => Directive::Terminate,
    };
    Finding::order(Check::Freeze, FROZEN, id, directive, message)
}

/// What a lapsed lease says.
#[must_use]
pub fn lapse_finding() -> Finding {
    let message = "the lease of the run has lapsed or its account is ended".to_owned();
    Finding::order(Check::Lease, LEASE_LAPSED, "", Directive::Terminate, message)
}

/// What a check that could not be made says: nothing was found against it, but under STRICT that is not enough.
#[must_use]
pub fn failure_finding(profile: Profile) -> Finding {
    let message = "a check could not be made, and the profile decided".to_owned();
    let verdict = if profile == Profile::Strict { Verdict::Deny } else { Verdict::Allow };
    Finding { verdict, ..Finding::order(Check::Failure, CONTROL_ERROR, "", Directive::Continue, message) }
}
