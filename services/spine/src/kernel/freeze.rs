//! The replica's own copy of the freezes in force, kept by a stream from controls and asked again right before an
//! answer leaves.

use contracts_common::common::v1::{Directive, GovernanceProfile};
use contracts_controls::v1::{
    Bypass, BypassScope, FreezeEffect, FreezeRecord, FreezeScope, WatchEpochResponse, WatchKind,
};
use parking_lot::{Mutex, RwLock};
use runspine_rpc::micros;
use runspine_types::Micros;
use tokio::sync::watch;

use super::{
    Kernel,
    combine::{Check, Finding},
    undecided::FREEZE_STATE_UNKNOWN,
};

/// Whom a call is about, for the scope of a freeze.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Project.
    pub project: &'a str,
    /// Agent.
    pub agent: &'a str,
    /// API key that started the run.
    pub api_key: &'a str,
    /// Run.
    pub run: &'a str,
}

/// When what is known of freezes is too old to go by, and what counts then.
#[derive(Debug, Clone, Copy)]
pub struct Doubt {
    /// How long the watch may be silent, in milliseconds.
    pub after_ms: i64,
    /// STANDARD refuses then, too.
    pub fail_closed: bool,
}

/// Freezes in force, as this replica has confirmed them.
#[derive(Debug, Default)]
pub struct FreezeView {
    known: RwLock<Known>,
    news: watch::Sender<u64>,
    ended: Mutex<Vec<FreezeRecord>>,
    heard: Mutex<Vec<Heard>>,
}

/// An agent's stream took the notice of a freeze.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The freeze.
    pub freeze_id: String,
    /// The run.
    pub run_id: String,
    /// Its attempt.
    pub attempt: u32,
}

#[derive(Debug, Default)]
struct Known {
    epoch: u64,
    confirmed_at: Option<Micros>,
    freezes: Vec<FreezeRecord>,
    bypasses: Vec<Bypass>,
}

impl FreezeView {
    /// Takes over what the watch says.
    pub fn learn(&self, said: WatchEpochResponse, now: Micros) {
        let mut known = self.known.write();
        known.confirmed_at = Some(now);
        if said.kind() == WatchKind::Heartbeat {
            return;
        }
        known.epoch = said.epoch;
        known.freezes = said.freezes;
        known.bypasses = said.bypasses;
        drop(known);
        self.ended.lock().extend(said.ended);
        self.news.send_modify(|count| *count += 1);
    }

    /// Changes whenever the freezes do.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Every freeze in force.
    #[must_use]
    pub fn in_force(&self, now: Micros) -> Vec<FreezeRecord> {
        self.known.read().freezes.iter().filter(|f| in_force(f, now)).cloned().collect()
    }

    /// Freezes that had ended before this replica began to watch.
    #[must_use]
    pub fn take_ended(&self) -> Vec<FreezeRecord> {
        std::mem::take(&mut *self.ended.lock())
    }

    /// An agent's stream took the notice of a freeze.
    pub fn hear(&self, heard: Heard) {
        self.heard.lock().push(heard);
    }

    /// What agents have heard since this was asked last.
    #[must_use]
    pub fn take_heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock())
    }

    /// The newest epoch that this replica knows.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.known.read().epoch
    }

    /// Whether the watch spoke within `window_ms`.
    #[must_use]
    pub fn is_confirmed(&self, now: Micros, window_ms: i64) -> bool {
        self.known.read().confirmed_at.is_some_and(|at| now.millis_since(at) <= window_ms)
    }

    /// The strictest freeze in force that covers `subject`.
    #[must_use]
    pub fn covering(&self, subject: Subject<'_>, now: Micros) -> Option<FreezeRecord> {
        let known = self.known.read();
        let covering = known.freezes.iter().filter(|f| in_force(f, now) && covers(f, subject));
        covering.max_by_key(|f| f.effect() == FreezeEffect::Terminate).cloned()
    }

    /// The narrowest bypass that holds for `subject`, as far as this replica knows: an admission has to confirm it.
    #[must_use]
    pub fn bypass(&self, subject: Subject<'_>, now: Micros) -> Option<Bypass> {
        let known = self.known.read();
        let holding = known.bypasses.iter().filter(|b| {
            let mine = match b.scope() {
                BypassScope::Project => b.scope_id == subject.project,
                BypassScope::Agent => b.scope_id == subject.agent,
                BypassScope::Run => b.scope_id == subject.run,
                BypassScope::Unspecified => false,
            };
            mine && b.tenant_id == subject.tenant && b.expires_at.as_ref().is_some_and(|at| micros(at) > now)
        });
        holding.max_by_key(|b| b.scope).cloned()
    }

    /// A freeze in force of an API key.
    #[must_use]
    pub fn of_key(&self, tenant: &str, key: &str, now: Micros) -> Option<FreezeRecord> {
        self.find(now, |f| f.scope() == FreezeScope::ApiKey && f.tenant_id == tenant && f.scope_id == key)
    }

    /// A freeze in force of a tenant as a whole, or of the mesh.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str, now: Micros) -> Option<FreezeRecord> {
        self.find(now, |f| match f.scope() {
            FreezeScope::Mesh => true,
            FreezeScope::Tenant => f.tenant_id == tenant,
            _ => false,
        })
    }

    fn find(&self, now: Micros, of: impl Fn(&FreezeRecord) -> bool) -> Option<FreezeRecord> {
        self.known.read().freezes.iter().find(|f| in_force(f, now) && of(f)).cloned()
    }

    /// Check 1 of a step.
    #[must_use]
    pub fn check(
        &self,
        subject: Subject<'_>,
        profile: GovernanceProfile,
        now: Micros,
        doubt: Doubt,
    ) -> Finding {
        if let Some(freeze) = self.covering(subject, now) {
            return frozen(&freeze);
        }
        if self.is_confirmed(now, doubt.after_ms) {
            return Finding::allow(Check::Freeze);
        }
        let profile = match profile {
            GovernanceProfile::Standard if doubt.fail_closed => GovernanceProfile::Strict,
            as_it_is => as_it_is,
        };
        Finding::undecided(Check::Freeze, profile, FREEZE_STATE_UNKNOWN)
    }
}

impl Kernel {
    /// What is known of freezes says this.
    pub(super) fn freeze_finding(&self, subject: Subject<'_>, profile: GovernanceProfile) -> Finding {
        let config = &self.config;
        let doubt = Doubt { after_ms: config.freeze_confirmed_ms, fail_closed: config.freeze_fail_closed };
        self.freezes.check(subject, profile, self.now(), doubt)
    }
}

/// What a freeze says to a step or a start.
#[must_use]
pub fn frozen(freeze: &FreezeRecord) -> Finding {
    let directive = match freeze.effect() {
        FreezeEffect::Pause => Directive::Pause,
        FreezeEffect::Terminate | FreezeEffect::Unspecified => Directive::Terminate,
    };
    let mut finding = Finding::deny(Check::Freeze, directive, "FROZEN", "a freeze covers this run");
    if let Some(reason) = finding.reasons.first_mut() {
        reason.source_id.clone_from(&freeze.freeze_id);
    }
    finding
}

fn in_force(freeze: &FreezeRecord, now: Micros) -> bool {
    freeze.expires_at.as_ref().is_none_or(|at| micros(at) > now)
}

fn covers(freeze: &FreezeRecord, subject: Subject<'_>) -> bool {
    // A freeze of the mesh belongs to no tenant.
    if freeze.scope() == FreezeScope::Mesh {
        return true;
    }
    freeze.tenant_id == subject.tenant
        && match freeze.scope() {
            FreezeScope::Tenant => true,
            FreezeScope::Project => freeze.scope_id == subject.project,
            FreezeScope::Agent => freeze.scope_id == subject.agent,
            FreezeScope::ApiKey => freeze.scope_id == subject.api_key,
            FreezeScope::Run => freeze.scope_id == subject.run,
            // A scope that nobody knows is never taken for one that does not apply.
            FreezeScope::Unspecified | FreezeScope::Mesh => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000_000);
    const DOUBT: Doubt = Doubt { after_ms: 5_000, fail_closed: false };

    fn subject<'a>() -> Subject<'a> {
        Subject { tenant: "t", project: "p", agent: "a", api_key: "k", run: "r" }
    }

    fn freeze(scope: FreezeScope, id: &str, effect: FreezeEffect) -> FreezeRecord {
        FreezeRecord {
            freeze_id: format!("{scope:?}"),
            tenant_id: "t".into(),
            scope: scope.into(),
            scope_id: id.into(),
            effect: effect.into(),
            ..FreezeRecord::default()
        }
    }

    fn view(freezes: Vec<FreezeRecord>) -> FreezeView {
        let view = FreezeView::default();
        let said = WatchEpochResponse {
            kind: WatchKind::Snapshot.into(),
            epoch: 7,
            freezes,
            ..WatchEpochResponse::default()
        };
        view.learn(said, NOW);
        view
    }

    #[test]
    fn a_freeze_covers_its_scope_and_nothing_else() {
        use FreezeScope::{Agent, ApiKey, Project, Run, Tenant};
        for (scope, id) in [(Tenant, ""), (Project, "p"), (Agent, "a"), (ApiKey, "k"), (Run, "r")] {
            let view = view(vec![freeze(scope, id, FreezeEffect::Pause)]);
            assert!(view.covering(subject(), NOW).is_some(), "{scope:?}");
            let other = Subject { tenant: "u", ..subject() };
            assert!(view.covering(other, NOW).is_none(), "{scope:?}");
            if scope != Tenant {
                let other = Subject { project: "q", agent: "b", api_key: "l", run: "s", ..subject() };
                assert!(view.covering(other, NOW).is_none(), "{scope:?}");
            }
        }
    }

    #[test]
    fn a_freeze_of_the_mesh_covers_every_tenant() {
        let mesh =
            FreezeRecord { tenant_id: String::new(), ..freeze(FreezeScope::Mesh, "", FreezeEffect::Pause) };
        let view = view(vec![mesh]);
        assert!(view.covering(Subject { tenant: "u", ..subject() }, NOW).is_some());
    }

    #[test]
    fn the_narrowest_bypass_that_holds_is_named() {
        let bypass = |scope: BypassScope, id: &str, ends_ms: i64| Bypass {
            bypass_id: format!("{scope:?}"),
            tenant_id: "t".into(),
            scope: scope.into(),
            scope_id: id.into(),
            expires_at: Some(runspine_rpc::timestamp(NOW.plus_millis(ends_ms))),
            ..Bypass::default()
        };
        let all = [
            bypass(BypassScope::Project, "p", 1),
            bypass(BypassScope::Agent, "a", 2),
            bypass(BypassScope::Run, "other", 9),
        ];
        let view = view(Vec::new());
        view.learn(
            WatchEpochResponse {
                kind: WatchKind::Change.into(),
                bypasses: all.to_vec(),
                ..Default::default()
            },
            NOW,
        );
        let named = |subject, at| view.bypass(subject, at).map(|b| b.bypass_id);
        assert_eq!(named(subject(), NOW), Some("Agent".to_owned()));
        assert_eq!(named(subject(), NOW.plus_millis(2)), None);
        assert_eq!(named(Subject { agent: "b", ..subject() }, NOW), Some("Project".to_owned()));
        assert_eq!(named(Subject { tenant: "u", ..subject() }, NOW), None);
    }

    #[test]
    fn a_change_is_news_and_a_heartbeat_is_none() {
        let view = view(Vec::new());
        let mut news = view.news();
        let beat = WatchEpochResponse { kind: WatchKind::Heartbeat.into(), epoch: 7, ..Default::default() };
        view.learn(beat, NOW);
        assert!(!news.has_changed().unwrap());
        let change = WatchEpochResponse { kind: WatchKind::Change.into(), epoch: 8, ..Default::default() };
        view.learn(change, NOW);
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        assert_eq!(view.epoch(), 8);
    }

    #[test]
    fn of_two_freezes_the_stricter_one_speaks() {
        let both = vec![
            freeze(FreezeScope::Run, "r", FreezeEffect::Terminate),
            freeze(FreezeScope::Tenant, "", FreezeEffect::Pause),
        ];
        let finding = view(both).check(subject(), GovernanceProfile::ObserveOnly, NOW, DOUBT);
        assert_eq!(finding.directive, Directive::Terminate);
        assert!(finding.order);
    }

    #[test]
    fn a_silent_watch_is_not_an_empty_list() {
        use GovernanceProfile::{ObserveOnly, Standard, Strict};
        use contracts_common::common::v1::Verdict::{Allow, Deny};
        let view = view(Vec::new());
        let late = NOW.plus_millis(5_001);
        let rows = [
            (Strict, false, Deny),
            (Strict, true, Deny),
            (Standard, false, Allow),
            (Standard, true, Deny),
            (ObserveOnly, false, Allow),
            (ObserveOnly, true, Allow),
        ];
        for (profile, fail_closed, verdict) in rows {
            let doubt = Doubt { fail_closed, ..DOUBT };
            let found = view.check(subject(), profile, late, doubt);
            assert_eq!((found.verdict, found.degraded), (verdict, true), "{profile:?} {fail_closed}");
            assert!(!view.check(subject(), profile, NOW, doubt).degraded, "{profile:?} {fail_closed}");
        }
    }
}
