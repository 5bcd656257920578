//! What rules demand of an approval, and what exactly is approved.

use runspine_errors::Violations;
use runspine_types::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::{
    obligation::{self, Obligation},
    words::ApprovalLevel,
};

/// The terms that no demanding rule states, as the tenant sets them. Keys are in the order of canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// How long a level is waited for before the next one is asked, seconds.
    pub escalates_s: i64,
    /// How long votes are taken, seconds.
    pub expires_s: i64,
    /// The least level of a voter.
    pub level: ApprovalLevel,
    /// Different people who have to approve.
    pub quorum: u32,
    /// How long it may be used after the last needed vote, seconds.
    pub use_within_s: i64,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            escalates_s: 300,
            expires_s: 3_600,
            level: ApprovalLevel::TeamLead,
            quorum: 1,
            use_within_s: 900,
        }
    }
}

impl Defaults {
    /// Whether nobody set anything.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what is out of its range to `v`, under `field`.
    pub fn check(&self, v: &mut Violations, field: &str) {
        let ranges = [
            ("quorum", i64::from(self.quorum), 1, 5),
            ("expires_s", self.expires_s, 60, 86_400),
            ("use_within_s", self.use_within_s, 60, 3_600),
            ("escalates_s", self.escalates_s, 30, 3_600),
        ];
        for (name, value, least, most) in ranges {
            let fits = (least..=most).contains(&value);
            v.require(fits, &format!("{field}.{name}"), "OUT_OF_RANGE", &format!("{least} to {most}"));
        }
    }
}

/// What the demanding rules ask for, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The least level of a voter.
    pub level: ApprovalLevel,
    /// Different people who have to approve.
    pub quorum: u32,
    /// How long votes are taken, seconds.
    pub expires_s: i64,
    /// Whether a small action may pass without a person.
    pub auto: bool,
    /// How long it may be used after the last needed vote, seconds.
    pub use_within_s: i64,
    /// How long a level is waited for before the next one is asked, seconds.
    pub escalates_s: i64,
}

impl From<Defaults> for Terms {
    /// The terms of a rule that states none.
    fn from(set: Defaults) -> Self {
        let Defaults { escalates_s, expires_s, level, quorum, use_within_s } = set;
        Self { level, quorum, expires_s, auto: true, use_within_s, escalates_s }
    }
}

impl Terms {
    /// What one rule states; the rest is as the tenant sets it.
    #[must_use]
    pub fn of_rule(obligations: &[Obligation], set: &Defaults) -> Self {
        let arg = |name: &str| obligations.iter().find(|o| o.name == name)?.args.first().cloned();
        let number = |name: &str| arg(name).and_then(|a| a.parse::<i64>().ok());
        Self {
            level: arg("level").and_then(|a| ApprovalLevel::from_text(&a)).unwrap_or(set.level),
            quorum: number("quorum").and_then(|n| u32::try_from(n).ok()).unwrap_or(set.quorum),
            expires_s: number("expires").unwrap_or(set.expires_s),
            auto: !obligations.iter().any(|o| o.name == "no_auto"),
            ..Self::from(*set)
        }
    }

    /// The stricter of two in everything.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            level: self.level.max(other.level),
            quorum: self.quorum.max(other.quorum),
            expires_s: self.expires_s.min(other.expires_s),
            auto: self.auto && other.auto,
            use_within_s: self.use_within_s.min(other.use_within_s),
            escalates_s: self.escalates_s.min(other.escalates_s),
        }
    }
}

/// What is approved: every part of it, so that another argument is another action.
#[derive(Debug, Clone)]
pub struct Action<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The run.
    pub run_id: &'a str,
    /// The attempt.
    pub attempt: u32,
    /// The step; none: the start of the run.
    pub step_index: Option<u32>,
    /// Kind of the step, or START_RUN.
    pub kind: &'a str,
    /// What it is about.
    pub resource: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Digest of its arguments in hex.
    pub arguments_digest: &'a str,
    /// What it is bound to once approved.
    pub obligations: &'a [Obligation],
}

impl Action<'_> {
    /// Names this action of this step: what a vote is for.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let step = self.step_index.map_or(-1, i64::from);
        let place = Hasher::new("runspine.action.v1")
            .sized(self.tenant.as_bytes())
            .sized(self.run_id.as_bytes())
            .sized(&self.attempt.to_be_bytes())
            .sized(&step.to_be_bytes());
        self.deed(place)
    }

    /// Names what is done, at whatever step of the attempt: what was rejected once is not asked about again.
    #[must_use]
    pub fn deed_digest(&self) -> Digest {
        self.deed(Hasher::new("runspine.deed.v1"))
    }

    fn deed(&self, place: Hasher) -> Digest {
        place
            .sized(self.kind.as_bytes())
            .sized(self.resource.as_bytes())
            .sized(self.name.as_bytes())
            .sized(self.arguments_digest.as_bytes())
            .sized(obligation::text(self.obligations).as_bytes())
            .finish()
    }
}

/// The approval level of a person: the highest of the roles; 0: none.
#[must_use]
pub fn level_of(roles: &[String]) -> i32 {
    let level = |role: &String| match role.as_str() {
        "OWNER" => 5,
        "ADMIN" | "SECURITY_ADMIN" => 4,
        "OPERATOR" | "APPROVER" | "POLICY_REVIEWER" => 3,
        "DEVELOPER" | "AUDITOR" | "POLICY_AUTHOR" => 2,
        "VIEWER" => 1,
        _ => 0,
    };
    roles.iter().map(level).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(items: &[(&str, &str)]) -> Terms {
        let item = |(name, arg): &(&str, &str)| Obligation {
            name: (*name).into(),
            args: if arg.is_empty() { vec![] } else { vec![(*arg).into()] },
        };
        Terms::of_rule(&items.iter().map(item).collect::<Vec<_>>(), &Defaults::default())
    }

    #[test]
    fn the_strictest_of_all_demanding_rules_counts() {
        let plain = Terms::from(Defaults::default());
        assert_eq!(rule(&[]), plain);
        let low = rule(&[("level", "SELF"), ("expires", "7200")]);
        assert_eq!((low.level, low.expires_s, low.auto), (ApprovalLevel::OneSelf, 7_200, true));
        let high = rule(&[("level", "MANAGER"), ("quorum", "2"), ("no_auto", "")]);
        let both = low.clone().and(high.clone());
        assert_eq!(both, high.clone().and(low.clone()));
        let expected = Terms { level: ApprovalLevel::Manager, quorum: 2, auto: false, ..plain.clone() };
        assert_eq!(both, expected);
        // A rule that states no level demands a team lead, beside whatever states SELF.
        assert_eq!(low.and(plain).level, ApprovalLevel::TeamLead);
    }

    #[test]
    fn what_no_rule_states_is_as_the_tenant_sets_it() {
        let set = Defaults {
            escalates_s: 60,
            expires_s: 600,
            level: ApprovalLevel::Manager,
            quorum: 2,
            use_within_s: 120,
        };
        let item = Obligation { name: "expires".into(), args: vec!["7200".into()] };
        let terms = Terms::of_rule(&[item], &set);
        assert_eq!(terms, Terms { expires_s: 7_200, ..Terms::from(set) });
        assert!(!set.is_default() && Defaults::default().is_default());
    }

    #[test]
    fn each_default_has_its_range() {
        let wrong = |set: Defaults| {
            let mut v = Violations::new();
            set.check(&mut v, "d");
            v.into_result(&runspine_errors::mesh::FIELD_INVALID)
                .map_err(|f| f.fields().len())
                .err()
                .unwrap_or(0)
        };
        let plain = Defaults::default();
        assert_eq!(wrong(plain), 0);
        for (least, most) in [(60, 3_600), (59, 3_601)] {
            let at = |use_within_s| Defaults { use_within_s, ..plain };
            assert_eq!((wrong(at(least)), wrong(at(most))), if least == 60 { (0, 0) } else { (1, 1) });
        }
        assert_eq!(
            (wrong(Defaults { escalates_s: 29, ..plain }), wrong(Defaults { escalates_s: 30, ..plain })),
            (1, 0)
        );
        let all = Defaults { escalates_s: 0, expires_s: 86_401, quorum: 6, use_within_s: 0, ..plain };
        assert_eq!(wrong(all), 4);
    }

    #[test]
    fn every_part_of_an_action_names_it() {
        let caps = [Obligation { name: "cap_tokens".into(), args: vec!["5".into()] }];
        let base = Action {
            tenant: "t",
            run_id: "r",
            attempt: 1,
            step_index: Some(0),
            kind: "TOOL_CALL",
            resource: "pay",
            name: "pay",
            arguments_digest: "aa",
            obligations: &[],
        };
        let others = [
            Action { tenant: "u", ..base.clone() },
            Action { run_id: "s", ..base.clone() },
            Action { attempt: 2, ..base.clone() },
            Action { step_index: Some(1), ..base.clone() },
            Action { step_index: None, ..base.clone() },
            Action { kind: "EXECUTE_CODE", ..base.clone() },
            Action { resource: "buy", ..base.clone() },
            Action { name: "p", resource: "aypay", ..base.clone() },
            Action { arguments_digest: "ab", ..base.clone() },
            Action { obligations: &caps, ..base.clone() },
        ];
        let mut all: Vec<Digest> = others.iter().map(Action::digest).collect();
        all.push(base.digest());
        let different: std::collections::HashSet<_> = all.iter().map(|d| d.to_hex()).collect();
        assert_eq!(different.len(), 11);
        assert_eq!(base.deed_digest(), others[3].deed_digest());
        assert_ne!(base.deed_digest(), others[8].deed_digest());
    }

    #[test]
    fn the_highest_role_is_the_level() {
        let roles = |all: &[&str]| all.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        assert_eq!(level_of(&roles(&["VIEWER", "APPROVER"])), 3);
        assert_eq!(level_of(&roles(&["ADMIN", "OWNER"])), 5);
        assert_eq!(level_of(&roles(&["AGENT"])), 0);
        assert_eq!(level_of(&[]), 0);
    }
}
