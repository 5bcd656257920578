//! Bringing rules into force, turning them up and down, and out of force: each one commit with its snapshot and its event.

use contracts_policies::v1 as pb;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::{CompiledRule, CompiledSnapshot},
    reasons,
    rule::{Act, Meaning, check_protected, check_reason, rule_digest, sequence_quota, warn_on_grant},
    sequence::MAX_RULES,
    slice::MAX_SLICE,
    text,
    words::{Category, Mode, RuleState, RuleType},
};

use super::{
    App, Keyed, Who,
    layer::{self, Built},
    rules::{not_found, present, state_json},
    write_rule::{Order, QUOTA, conflict, emit, head, move_version, quota, row_of, save, version},
};
use crate::store::rules::{self, HeadRow, VersionRow};

impl App {
    /// Puts a draft in force.
    pub(crate) async fn activate_rule(
        &self,
        who: &Who,
        request: &pb::ActivateRuleRequest,
    ) -> Result<pb::ActivateRuleResponse, Fault> {
        check_reason(&request.reason)?;
        let row = self.read_version(who, &request.rule_id, request.version).await?;
        let meaning = Meaning::from_bytes(&row.meaning).ok_or_else(not_found)?;
        self.check_activatable(who, &meaning).await?;
        let key = Keyed::by_request_id("policies.ActivateRule", &request.request_id, request);
        let (order, request) = (self.order(who, &request.reason), request.clone());
        let done = self.keyed(who, key, move |tx| Box::pin(activate(tx, order, request))).await;
        self.cache.forget_active(&who.tenant);
        done
    }

    /// Makes a version with another mode and puts it in force.
    pub(crate) async fn set_rule_mode(
        &self,
        who: &Who,
        request: &pb::SetRuleModeRequest,
        mode: Mode,
    ) -> Result<pb::SetRuleModeResponse, Fault> {
        check_reason(&request.reason)?;
        let key = Keyed::by_request_id("policies.SetRuleMode", &request.request_id, request);
        let (order, rule_id) = (self.order(who, &request.reason), request.rule_id.clone());
        let done = self.keyed(who, key, move |tx| Box::pin(set_mode(tx, order, rule_id, mode))).await;
        self.cache.forget_active(&who.tenant);
        done
    }

    /// Takes a version out of force.
    pub(crate) async fn retire_rule(
        &self,
        who: &Who,
        request: &pb::RetireRuleRequest,
    ) -> Result<pb::RetireRuleResponse, Fault> {
        check_reason(&request.reason)?;
        let key = Keyed::by_request_id("policies.RetireRule", &request.request_id, request);
        let (order, request) = (self.order(who, &request.reason), request.clone());
        let done = self.keyed(who, key, move |tx| Box::pin(retire(tx, order, request))).await;
        self.cache.forget_active(&who.tenant);
        done
    }

    /// BI-POLICY-001: a text that can't be validated can't be activated, nor one that makes a slice too large.
    pub(super) async fn check_activatable(&self, who: &Who, meaning: &Meaning) -> Result<(), Fault> {
        let compiled = CompiledRule::new(meaning.clone(), rule_digest(&meaning.bytes())).map_err(|_| {
            let found = meaning.check();
            text::blocking(&found)
        })?;
        let active = self.active(who).await?;
        check_sequences(&active.compiled, meaning)?;
        let bound = active.compiled.slice_bound(&compiled);
        if bound >= MAX_SLICE {
            let text = format!("a slice would hold more than {MAX_SLICE} rules");
            return Err(Fault::new(&reasons::SLICE_TOO_LARGE, text).with("rules", bound + 1));
        }
        self.check_findings(&active.compiled, &who.tenant, meaning)
    }
}

/// A tenant has 200 rules at most that watch steps.
fn check_sequences(active: &CompiledSnapshot, meaning: &Meaning) -> Result<(), Fault> {
    let others = active
        .watching_rules()
        .filter(|r| r.meaning.tenant_id == meaning.tenant_id && r.meaning.rule_id != meaning.rule_id);
    if meaning.sequence.is_some() && others.count() >= MAX_RULES {
        return Err(sequence_quota());
    }
    Ok(())
}

/// Retires what is in force, because `successor` takes its place; says what stood there.
async fn supersede(
    tx: &mut Tx,
    order: &Order,
    head: &HeadRow,
    successor: u32,
) -> Result<Option<VersionRow>, Fault> {
    if head.active_version == 0 {
        return Ok(None);
    }
    let old = version(tx, order, &head.rule_id, head.active_version).await?;
    let step = (head.active_version, Some(RuleState::Active), Act::Supersede);
    move_version(tx, order, &head.rule_id, step, ("SUPERSEDED", &successor.to_string())).await?;
    Ok(Some(old))
}

async fn rebuild(tx: &mut Tx, order: &Order) -> Result<Built, Fault> {
    layer::rebuild(tx, &order.who, order.profile, order.at, true).await
}

/// Who may put a version in force where proposals are required: somebody else than its author, once it was approved.
async fn check_reviewed(tx: &mut Tx, order: &Order, row: &VersionRow) -> Result<(), Fault> {
    let (_, settings) = layer::settings(tx, &order.who.tenant, order.profile).await?;
    if !settings.require_proposal {
        return Ok(());
    }
    if [&order.who.actor.id, &order.who.owner_id].contains(&&row.author_id) {
        return Err(Fault::new(
            &reasons::SELF_APPROVAL,
            "somebody else puts a rule in force than its author",
        ));
    }
    if row.proposal_id.is_empty() {
        let text = "the tenant's rules come into force through approved proposals only";
        return Err(Fault::new(&reasons::PROPOSAL_REQUIRED, text).precondition("require_proposal", text));
    }
    Ok(())
}

/// Puts a version in force.
pub(super) async fn activate(
    tx: &mut Tx,
    order: Order,
    request: pb::ActivateRuleRequest,
) -> Result<pb::ActivateRuleResponse, Fault> {
    let mut head = head(tx, &order, &request.rule_id).await?;
    let row = version(tx, &order, &request.rule_id, request.version).await?;
    check_reviewed(tx, &order, &row).await?;
    check_protected(head.mesh || row.category == Category::System.code(), order.who.operator)?;
    let from = head.state_of(request.version);
    let step = (request.version, Some(from), Act::Activate);
    move_version(tx, &order, &request.rule_id, step, (&request.reason, "")).await?;
    if head.revision != request.expected_version {
        return Err(conflict());
    }
    let (active, _) = rules::counts(tx, &order.who.tenant).await?;
    if active >= QUOTA.0 && head.active_version == 0 {
        return Err(quota("rules in force", QUOTA.0));
    }
    let old = supersede(tx, &order, &head, request.version).await?;
    (head.active_version, head.draft_version) = (request.version, 0);
    save(tx, &order, &mut head).await?;
    let built = rebuild(tx, &order).await?;
    let data = pb::RuleActivated {
        rule_id: request.rule_id.clone(),
        version: request.version,
        superseded_version: old.as_ref().map_or(0, |o| o.version),
        rule_digest: row.rule_digest.to_vec().into(),
        snapshot_digest: built.digest().to_vec().into(),
    };
    let before = old.as_ref().map_or_else(|| state_json(&row, from), |o| state_json(o, RuleState::Active));
    let states = (before, state_json(&row, RuleState::Active));
    emit(tx, &order, "RuleActivated", &request.rule_id, states, &data);
    Ok(pb::ActivateRuleResponse {
        rule: Some(present(&row, RuleState::Active, head.revision)?),
        snapshot_digest: data.snapshot_digest,
    })
}

async fn set_mode(
    tx: &mut Tx,
    order: Order,
    rule_id: String,
    mode: Mode,
) -> Result<pb::SetRuleModeResponse, Fault> {
    let mut head = head(tx, &order, &rule_id).await?;
    if head.active_version == 0 {
        let text = "no version of the rule is in force";
        return Err(Fault::new(&reasons::RULE_TRANSITION_INVALID, text));
    }
    let old = version(tx, &order, &rule_id, head.active_version).await?;
    check_protected(head.mesh || old.category == Category::System.code(), order.who.operator)?;
    let number = head.last_version + 1;
    let mut meaning = Meaning::from_bytes(&old.meaning).ok_or_else(not_found)?;
    (meaning.mode, meaning.version) = (mode, number);
    let found = meaning.check();
    if found.policy.as_ref().is_some_and(|p| p.effect() == text::GRANT) && mode == Mode::Warn {
        return Err(warn_on_grant("mode"));
    }
    if found.is_blocking() {
        return Err(text::blocking(&found));
    }
    let words = (old.name.clone(), old.description.clone());
    let rule_type = RuleType::from_code(old.rule_type).unwrap_or(RuleType::Standard);
    let row = VersionRow {
        source: old.source,
        proposal_id: old.proposal_id.clone(),
        lesson_id: old.lesson_id.clone(),
        template: old.template.clone(),
        ..row_of(&order, &meaning, words, rule_type, old.version)
    };
    rules::insert_version(tx, &row).await?;
    supersede(tx, &order, &head, number).await?;
    move_version(tx, &order, &rule_id, (number, None, Act::Write), ("MODE_CHANGED", "")).await?;
    let step = (number, Some(RuleState::Draft), Act::Activate);
    move_version(tx, &order, &rule_id, step, (&order.reason, "")).await?;
    (head.last_version, head.active_version) = (number, number);
    save(tx, &order, &mut head).await?;
    let built = rebuild(tx, &order).await?;
    let data = pb::RuleModeChanged {
        rule_id: rule_id.clone(),
        version: number,
        from: old.mode,
        to: mode.code(),
        snapshot_digest: built.digest().to_vec().into(),
    };
    let states = (state_json(&old, RuleState::Active), state_json(&row, RuleState::Active));
    emit(tx, &order, "RuleModeChanged", &rule_id, states, &data);
    Ok(pb::SetRuleModeResponse {
        rule: Some(present(&row, RuleState::Active, head.revision)?),
        snapshot_digest: data.snapshot_digest,
    })
}

async fn retire(
    tx: &mut Tx,
    order: Order,
    request: pb::RetireRuleRequest,
) -> Result<pb::RetireRuleResponse, Fault> {
    let mut head = head(tx, &order, &request.rule_id).await?;
    let number = match (request.version, head.active_version, head.draft_version) {
        (0, 0, 0) => head.last_version,
        (0, 0, draft) => draft,
        (0, active, _) => active,
        (version, ..) => version,
    };
    let row = version(tx, &order, &request.rule_id, number).await?;
    check_protected(head.mesh || row.category == Category::System.code(), order.who.operator)?;
    let from = head.state_of(number);
    let step = (number, Some(from), Act::Retire);
    move_version(tx, &order, &request.rule_id, step, (&order.reason, &request.successor_rule_id)).await?;
    if from == RuleState::Active {
        head.active_version = 0;
    } else {
        head.draft_version = 0;
    }
    save(tx, &order, &mut head).await?;
    let built = rebuild(tx, &order).await?;
    let data = pb::RuleRetired {
        rule_id: request.rule_id.clone(),
        version: number,
        snapshot_digest: built.digest().to_vec().into(),
    };
    let states = (state_json(&row, from), state_json(&row, RuleState::Retired));
    emit(tx, &order, "RuleRetired", &request.rule_id, states, &data);
    Ok(pb::RetireRuleResponse {
        rule: Some(present(&row, RuleState::Retired, head.revision)?),
        snapshot_digest: data.snapshot_digest,
    })
}
