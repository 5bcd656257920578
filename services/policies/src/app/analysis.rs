//! Analyzing sets of rules, and what was found.

use std::{collections::HashMap, sync::Arc};

use contracts_policies::v1 as pb;
use prost::Message as _;
use runspine_db::{Tx, args};
use runspine_errors::Fault;
use runspine_policies_domain::{
    analysis::{Analysis, SetFinding, analyze, dependencies},
    compile::CompiledSnapshot,
    reasons,
    rule::{Meaning, check_reason},
    sandbox::candidate::{Overlay, compile},
    words::FindingSeverity,
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, Hasher, Micros, new_id};

use super::{
    App, Keyed, Who,
    emit::{About, event},
    metrics,
    read::Page,
    sandbox::candidate::AskCandidate,
    unreadable,
};
use crate::store::{
    findings::{self, FindingRow, NewAnalysis, NewFinding},
    lists::Filter,
};

/// Findings that an analysis answers with.
const SHOWN: i64 = 500;

fn not_found() -> Fault {
    Fault::new(&reasons::FINDING_NOT_FOUND, "there is no such finding")
}

impl App {
    /// Analyzes what is in force, or a candidate.
    pub(crate) async fn analyze_set(
        &self,
        who: &Who,
        request: &pb::AnalyzePolicySetRequest,
        candidate: AskCandidate,
    ) -> Result<pb::AnalyzePolicySetResponse, Fault> {
        let key = Keyed::by_request_id("policies.AnalyzePolicySet", &request.request_id, request);
        if let Some(answer) = self.answered(who, &key).await? {
            return Ok(answer);
        }
        let in_force = candidate.base.is_none() && candidate.changes.is_empty();
        let set = self.candidate(who, candidate).await?.compiled;
        let at = self.now();
        let work = Arc::clone(&set);
        // A large set takes seconds: not on a thread that serves calls.
        let analysis = tokio::task::spawn_blocking(move || analyze(&work, at.0, None)).await;
        let done = Done { tenant: who.tenant.clone(), in_force, digest: set.digest, at };
        let found = new_findings(&set, &analysis.map_err(unreadable)?);
        self.keyed(who, key, move |tx| Box::pin(store(tx, done, found))).await
    }

    /// The findings of an analysis, most lately found first, with their keys.
    pub(crate) async fn findings(
        &self,
        who: &Who,
        request: &pb::ListFindingsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::PolicyFinding)>, Fault> {
        let mut analysis = request.analysis_id.clone();
        if analysis.is_empty() {
            let latest: Option<(String,)> =
                self.db.read().fetch_optional(findings::LATEST, args![&who.tenant]).await?;
            let Some((latest,)) = latest else { return Ok(Vec::new()) };
            analysis = latest;
        }
        let mut filter = Filter::tenant("n.tenant_id", &who.tenant)
            .and("n.analysis_id =", analysis)
            .and_if("f.id <", page.before)
            .any_of("f.kind", &request.kinds)
            .any_of("f.severity", &request.severities)
            .either("f.rule_id", "f.other_rule_id", &request.rule_id);
        if request.open_only {
            filter = filter.raw(" AND a.id IS NULL");
        }
        let rows: Vec<FindingRow> =
            filter.fetch(self.db.read(), findings::FINDING, "f.id DESC", page.limit).await?;
        rows.into_iter().map(|r| Ok((r.id, present(r)?))).collect()
    }

    /// The rules in force, of which `rule_id` has to be one if it is named.
    pub(crate) async fn set_with(&self, who: &Who, rule_id: &str) -> Result<Arc<CompiledSnapshot>, Fault> {
        let set = self.active(who).await?.compiled;
        if !rule_id.is_empty() && !set.rules.iter().any(|r| r.meaning.rule_id == rule_id) {
            return Err(super::rules::not_found());
        }
        Ok(set)
    }

    /// The first `most` of what rules depend on each other for, in order.
    pub(crate) async fn dependencies(
        &self,
        set: Arc<CompiledSnapshot>,
        rule_id: &str,
        most: usize,
    ) -> Result<Vec<pb::Dependency>, Fault> {
        let only = rule_id.to_owned();
        // Pairs of a large set take a while: not on a thread that serves calls.
        let found = tokio::task::spawn_blocking(move || {
            dependencies(&set, (!only.is_empty()).then_some(only.as_str()), most)
        });
        let edges = found.await.map_err(unreadable)?.into_iter().map(|d| pb::Dependency {
            rule_id: d.rule.0,
            version: d.rule.1,
            other_rule_id: d.other.0,
            other_version: d.other.1,
            kind: d.kind.code(),
            detail: d.detail,
        });
        Ok(edges.collect())
    }

    /// Says that a finding is known.
    pub(crate) async fn acknowledge(
        &self,
        who: &Who,
        request: &pb::AcknowledgeFindingRequest,
    ) -> Result<pb::AcknowledgeFindingResponse, Fault> {
        check_reason(&request.reason)?;
        let key = Keyed::by_request_id("policies.AcknowledgeFinding", &request.request_id, request);
        let (who_, request, at) = (who.clone(), request.clone(), self.now());
        self.keyed(who, key, move |tx| Box::pin(acknowledge(tx, who_, request, at))).await
    }

    /// Refused: a rule that would bring a blocking finding into what is in force.
    pub(crate) fn check_findings(
        &self,
        active: &CompiledSnapshot,
        tenant: &str,
        meaning: &Meaning,
    ) -> Result<(), Fault> {
        let overlay = Overlay { put: vec![meaning.clone()], removed: Vec::new() };
        let set = compile(active, &overlay, tenant)?;
        let analysis = analyze(&set, self.now().0, Some(&meaning.rule_id));
        let blocking: Vec<&SetFinding> =
            analysis.findings.iter().filter(|f| f.severity == FindingSeverity::Blocking).collect();
        if blocking.is_empty() {
            return Ok(());
        }
        let fault = Fault::new(&reasons::FINDINGS_BLOCKING, "the rule has blocking findings");
        Err(blocking.into_iter().fold(fault, |fault, f| {
            fault.precondition(
                format!("{} at line {} column {}", f.kind.as_str(), f.line, f.column),
                f.message.clone(),
            )
        }))
    }
}

struct Done {
    tenant: String,
    in_force: bool,
    digest: Digest,
    at: Micros,
}

struct Found {
    findings: Vec<NewFinding>,
    pairs: u64,
    incomplete: u32,
}

fn new_findings(set: &CompiledSnapshot, analysis: &Analysis) -> Found {
    let versions: HashMap<&str, u32> =
        set.rules.iter().map(|r| (r.meaning.rule_id.as_str(), r.meaning.version)).collect();
    let findings = analysis.findings.iter().map(|f| {
        let other_version = versions.get(f.other_rule_id.as_str()).copied().unwrap_or(0);
        let body = pb::PolicyFinding {
            finding: Some(message(f)),
            other_rule_id: f.other_rule_id.clone(),
            other_version,
            ..Default::default()
        };
        let body = body.encode_to_vec();
        NewFinding {
            finding_id: new_id(),
            // The versions are in it: what is found of another version is another finding.
            identity: Hasher::new("runspine.finding.v1").sized(&body).finish(),
            kind: f.kind.code(),
            severity: f.severity.code(),
            rule_id: f.rule_id.clone(),
            other_rule_id: f.other_rule_id.clone(),
            body,
        }
    });
    Found { findings: findings.collect(), pairs: analysis.pairs, incomplete: analysis.incomplete }
}

fn message(f: &SetFinding) -> pb::Finding {
    let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    pb::Finding {
        kind: f.kind.code(),
        severity: f.severity.code(),
        rule_id: f.rule_id.clone(),
        version: f.version,
        start_byte: place(f.start_byte),
        end_byte: place(f.end_byte),
        line: f.line,
        column: f.column,
        message: f.message.clone(),
        hint: String::new(),
    }
}

fn present(row: FindingRow) -> Result<pb::PolicyFinding, Fault> {
    let mut finding = pb::PolicyFinding::decode(row.body).map_err(unreadable)?;
    finding.finding_id = row.finding_id;
    finding.found_at = Some(timestamp(row.found_at));
    finding.ack = row.at.map(|at| pb::FindingAck {
        actor: Some(contracts_common::common::v1::Actor {
            r#type: row.actor_type.unwrap_or_default(),
            id: row.actor_id.unwrap_or_default(),
        }),
        reason: row.reason.unwrap_or_default(),
        at: Some(timestamp(at)),
    });
    Ok(finding)
}

async fn store(tx: &mut Tx, done: Done, found: Found) -> Result<pb::AnalyzePolicySetResponse, Fault> {
    let analysis_id = new_id();
    let analysis = NewAnalysis {
        analysis_id: &analysis_id,
        in_force: done.in_force,
        digest: done.digest,
        pairs: found.pairs,
        incomplete: found.incomplete,
        at: done.at,
    };
    found.findings.iter().for_each(|f| metrics::finding(f.kind));
    let finding_count = u32::try_from(found.findings.len()).unwrap_or(u32::MAX);
    let key = findings::insert(tx, &done.tenant, &analysis, found.findings).await?;
    let shown = findings::of_analysis(tx, key, SHOWN).await?;
    let findings: Result<Vec<_>, Fault> = shown.into_iter().map(present).collect();
    Ok(pb::AnalyzePolicySetResponse {
        analysis_id,
        digest: done.digest.to_vec().into(),
        findings: findings?,
        finding_count,
        pairs_examined: found.pairs,
        incomplete_count: found.incomplete,
    })
}

async fn acknowledge(
    tx: &mut Tx,
    who: Who,
    request: pb::AcknowledgeFindingRequest,
    at: Micros,
) -> Result<pb::AcknowledgeFindingResponse, Fault> {
    let row = findings::by_id(tx, &who.tenant, &request.finding_id).await?.ok_or_else(not_found)?;
    if row.severity == FindingSeverity::Blocking.code() {
        let text = "a blocking finding can't be acknowledged: change the rules";
        return Err(
            Fault::new(&reasons::FINDINGS_BLOCKING, text).precondition(request.finding_id, "WARNING or INFO")
        );
    }
    let actor = (who.actor.r#type, who.actor.id.as_str());
    let known = row.at.is_some();
    findings::acknowledge(tx, row.id, actor, &request.reason, at).await?;
    if !known {
        tell_acknowledged(tx, &who, &request, row.body, at)?;
    }
    let row = findings::by_id(tx, &who.tenant, &request.finding_id).await?.ok_or_else(not_found)?;
    Ok(pb::AcknowledgeFindingResponse { finding: Some(present(row)?) })
}

/// Who said first that a finding is known is told; whoever says so again changes nothing.
fn tell_acknowledged(
    tx: &mut Tx,
    who: &Who,
    request: &pb::AcknowledgeFindingRequest,
    body: bytes::Bytes,
    at: Micros,
) -> Result<(), Fault> {
    let found = pb::PolicyFinding::decode(body).map_err(unreadable)?.finding.unwrap_or_default();
    let about = About {
        entity_type: "finding",
        entity_id: request.finding_id.clone(),
        reason: request.reason.clone(),
        ..About::default()
    };
    let data = pb::FindingAcknowledged { finding_id: request.finding_id.clone(), rule_id: found.rule_id };
    tx.emit_raw(event(who, "FindingAcknowledged", about, &data, at));
    Ok(())
}
