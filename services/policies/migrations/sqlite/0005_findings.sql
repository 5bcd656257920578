-- What was proven about versions of rules. A finding is found once; each analysis names the findings that it came to.
CREATE TABLE analyses (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, analysis_id TEXT NOT NULL UNIQUE, in_force BIGINT NOT NULL,
    digest BLOB NOT NULL, pairs BIGINT NOT NULL, incomplete BIGINT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX analyses_by_tenant ON analyses (tenant_id, in_force, id);
CREATE TABLE findings (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, finding_id TEXT NOT NULL UNIQUE, identity BLOB NOT NULL,
    kind BIGINT NOT NULL, severity BIGINT NOT NULL, rule_id TEXT NOT NULL, other_rule_id TEXT NOT NULL, body BLOB NOT NULL,
    found_at BIGINT NOT NULL, UNIQUE (tenant_id, identity));
CREATE TABLE analysis_findings (
    id INTEGER PRIMARY KEY, analysis_key BIGINT NOT NULL, finding_key BIGINT NOT NULL,
    UNIQUE (analysis_key, finding_key));
CREATE TABLE finding_acks (
    id INTEGER PRIMARY KEY, finding_key BIGINT NOT NULL UNIQUE, reason TEXT NOT NULL, actor_type BIGINT NOT NULL,
    actor_id TEXT NOT NULL, at BIGINT NOT NULL);
