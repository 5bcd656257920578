//! What rules demand of an approval, and what exactly is approved.

use runspine_types::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::{
    obligation::{self, Obligation},
    words::ApprovalLevel,
};

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
}

impl Terms {
    /// The terms of a rule that states none.
    pub const DEFAULT: Self =
        Self { level: ApprovalLevel::TeamLead, quorum: 1, expires_s: 3_600, auto: true };

    /// What one rule states; the rest is the default.
    #[must_use]
    pub fn of_rule(obligations: &[Obligation]) -> Self {
        let arg = |name: &str| obligations.iter().find(|o| o.name == name)?.args.first().cloned();
        let number = |name: &str| arg(name).and_then(|a| a.parse::<i64>().ok());
        Self {
            level: arg("level").and_then(|a| ApprovalLevel::from_text(&a)).unwrap_or(Self::DEFAULT.level),
            quorum: number("quorum").and_then(|n| u32::try_from(n).ok()).unwrap_or(Self::DEFAULT.quorum),
            expires_s: number("expires").unwrap_or(Self::DEFAULT.expires_s),
            auto: !obligations.iter().any(|o| o.name == "no_auto"),
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
        Terms::of_rule(&items.iter().map(item).collect::<Vec<_>>())
    }

    #[test]
    fn the_strictest_of_all_demanding_rules_counts() {
        assert_eq!(rule(&[]), Terms::DEFAULT);
        let low = rule(&[("level", "SELF"), ("expires", "7200")]);
        assert_eq!((low.level, low.expires_s, low.auto), (ApprovalLevel::OneSelf, 7_200, true));
        let high = rule(&[("level", "MANAGER"), ("quorum", "2"), ("no_auto", "")]);
        let both = low.clone().and(high.clone());
        assert_eq!(both, high.clone().and(low.clone()));
        let expected = Terms { level: ApprovalLevel::Manager, quorum: 2, expires_s: 3_600, auto: false };
        assert_eq!(both, expected);
        // A rule that states no level demands a team lead, beside whatever states SELF.
        assert_eq!(low.and(Terms::DEFAULT).level, ApprovalLevel::TeamLead);
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
