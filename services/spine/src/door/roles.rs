//! Roles as sets of permission patterns: `a.b`, `a.*`, `*.verb`, `*.*`.

/// Acts that only a person may do, whatever role a machine was given.
const HUMAN_ONLY: [&str; 6] = [
    "approvals.decide",
    "overrides.approve",
    "proposals.review",
    "bypasses.*",
    "freezes.lift",
    "tenants.offboard",
];

/// Held by the mesh operator alone, whatever pattern another role has.
const OPERATOR_ONLY: [&str; 7] = [
    "tenants.create",
    "tenants.plan",
    "tenants.onboard",
    "policies.global",
    "ops.*",
    // The keys of the mesh sign for every tenant.
    "keys.rotate",
    "keys.revoke",
];

/// Never covered by a pattern with a star before the dot.
const NAMED_ONLY: [&str; 1] = ["payloads.read"];

/// What a role holds; `None` when there is no such role.
///
/// | role | for |
/// |---|---|
/// | OWNER | everything of the tenant |
/// | SECURITY_ADMIN | stops, bypasses, policies, approvals and payloads; doesn't run agents |
/// | ADMIN | settings, limits, people, and stopping runs; doesn't run agents |
/// | POLICY_AUTHOR | writes rules and proposals, tries them out, and decides about lessons |
/// | POLICY_REVIEWER | the same, approves proposals and puts rules in force |
/// | OPERATOR | runs, incidents, freezes: whoever is on duty |
/// | DEVELOPER | runs agents and reads everything |
/// | AUDITOR | reads, audits, verifies, exports |
/// | VIEWER | reads |
/// | AGENT | runs itself; the most that a machine with the actor kind AGENT can be |
/// | PLATFORM_OPERATOR | runs the mesh; reads, stops runs, never payloads |
#[must_use]
pub fn role_patterns(role: &str) -> Option<&'static [&'static str]> {
    Some(match role {
        "OWNER" => &["*.*", "payloads.read"],
        "SECURITY_ADMIN" => &[
            "*.read",
            "*.audit",
            "*.verify",
            "freezes.*",
            "bypasses.*",
            "policies.*",
            "overrides.approve",
            "approvals.*",
            "api_keys.*",
            "payloads.*",
        ],
        "ADMIN" => &[
            "*.read",
            "*.write",
            "runs.pause",
            "runs.resume",
            "runs.cancel",
            "api_keys.*",
            "limits.*",
            "budgets.*",
            "overrides.*",
            "policies.settings",
            "policies.activate",
            "approvals.*",
            "incidents.*",
            "contracts.unpark",
        ],
        "POLICY_AUTHOR" => &[
            "policies.read",
            "policies.write",
            "policies.simulate",
            "proposals.write",
            "lessons.*",
            "decisions.read",
        ],
        "POLICY_REVIEWER" => &[
            "policies.read",
            "policies.write",
            "policies.simulate",
            "policies.activate",
            "proposals.write",
            "proposals.review",
            "lessons.*",
            "decisions.read",
        ],
        "OPERATOR" => &[
            "*.read",
            "runs.*",
            "incidents.*",
            "freezes.write",
            "freezes.lift",
            "overrides.request",
            "breakers.write",
            "scopes.write",
            "signals.*",
        ],
        "DEVELOPER" => &["runs.execute", "runs.resume", "*.read", "policies.simulate", "violations.report"],
        "AUDITOR" => &[
            "*.read",
            "*.audit",
            "*.verify",
            "exports.create",
            "certificates.issue",
            "mismatches.*",
            "replay.run",
            "traces.archive",
        ],
        "VIEWER" => &["*.read"],
        "AGENT" => &[
            "runs.execute",
            "runs.read",
            "violations.report",
            "usage.ingest",
            "traces.ingest",
            "approvals.read",
        ],
        "PLATFORM_OPERATOR" => &[
            "tenants.*",
            "policies.global",
            "ops.*",
            "limits.write",
            "runs.pause",
            "runs.resume",
            "runs.cancel",
            "contracts.unpark",
            "keys.*",
            "*.read",
        ],
        _ => return None,
    })
}

/// Whether `pattern` covers `permission`.
#[must_use]
pub fn covers(pattern: &str, permission: &str) -> bool {
    let (Some((resource, verb)), Some((p_resource, p_verb))) =
        (permission.split_once('.'), pattern.split_once('.'))
    else {
        return false;
    };
    if p_resource == "*" && NAMED_ONLY.contains(&permission) {
        return false;
    }
    (p_resource == "*" || p_resource == resource) && (p_verb == "*" || p_verb == verb)
}

/// Whether `role` holds `permission`.
#[must_use]
pub fn holds(role: &str, permission: &str) -> bool {
    let operators = OPERATOR_ONLY.iter().any(|p| covers(p, permission));
    if operators && role != "PLATFORM_OPERATOR" {
        return false;
    }
    role_patterns(role).is_some_and(|patterns| patterns.iter().any(|p| covers(p, permission)))
}

/// Whether only a person may do it.
#[must_use]
pub fn human_only(permission: &str) -> bool {
    HUMAN_ONLY.iter().any(|p| covers(p, permission))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [&str; 11] = [
        "OWNER",
        "SECURITY_ADMIN",
        "ADMIN",
        "POLICY_AUTHOR",
        "POLICY_REVIEWER",
        "OPERATOR",
        "DEVELOPER",
        "AUDITOR",
        "VIEWER",
        "AGENT",
        "PLATFORM_OPERATOR",
    ];

    fn holders(permission: &str) -> Vec<&'static str> {
        ROLES.into_iter().filter(|role| holds(role, permission)).collect()
    }

    #[test]
    fn the_matrix_of_the_permissions_that_matter_most() {
        let readers = [
            "OWNER",
            "SECURITY_ADMIN",
            "ADMIN",
            "OPERATOR",
            "DEVELOPER",
            "AUDITOR",
            "VIEWER",
            "PLATFORM_OPERATOR",
        ];
        assert_eq!(holders("traces.read"), readers);
        assert_eq!(holders("runs.execute"), ["OWNER", "OPERATOR", "DEVELOPER", "AGENT"]);
        assert_eq!(holders("runs.cancel"), ["OWNER", "ADMIN", "OPERATOR", "PLATFORM_OPERATOR"]);
        let writers = ["OWNER", "SECURITY_ADMIN", "ADMIN", "POLICY_AUTHOR", "POLICY_REVIEWER"];
        assert_eq!(holders("policies.write"), writers);
        assert_eq!(holders("policies.activate"), ["OWNER", "SECURITY_ADMIN", "ADMIN", "POLICY_REVIEWER"]);
        assert_eq!(holders("proposals.review"), ["OWNER", "POLICY_REVIEWER"]);
        assert_eq!(holders("lessons.decide"), ["OWNER", "POLICY_AUTHOR", "POLICY_REVIEWER"]);
        assert_eq!(holders("runs.verify"), ["OWNER", "SECURITY_ADMIN", "OPERATOR", "AUDITOR"]);
        assert_eq!(holders("bypasses.approve"), ["OWNER", "SECURITY_ADMIN"]);
        assert_eq!(holders("breakers.write"), ["OWNER", "ADMIN", "OPERATOR"]);
        assert_eq!(holders("scopes.write"), ["OWNER", "ADMIN", "OPERATOR"]);
        assert_eq!(holders("policies.global"), ["PLATFORM_OPERATOR"]);
        assert_eq!(holders("ops.read"), ["PLATFORM_OPERATOR"]);
        assert_eq!(holders("payloads.read"), ["OWNER", "SECURITY_ADMIN"]);
        assert_eq!(holders("keys.rotate"), ["PLATFORM_OPERATOR"]);
        assert_eq!(holders("keys.revoke"), ["PLATFORM_OPERATOR"]);
        assert_eq!(holders("keys.read"), readers);
    }

    #[test]
    fn patterns_cover_only_whole_words() {
        assert!(covers("runs.*", "runs.read") && covers("*.read", "runs.read") && covers("*.*", "a.b"));
        assert!(
            !covers("run.*", "runs.read") && !covers("*.rea", "runs.read") && !covers("runs.read", "runs")
        );
        assert!(!holds("NOBODY", "runs.read"));
    }

    #[test]
    fn some_acts_are_for_people() {
        assert!(human_only("freezes.lift") && human_only("bypasses.grant") && !human_only("freezes.write"));
    }
}
