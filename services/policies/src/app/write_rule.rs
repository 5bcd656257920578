//! Writing rules: a draft is one commit with its event.

use contracts_common::common::v1::Actor;
use contracts_policies::v1 as pb;
use prost::Message;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_policies_domain::{
    reasons,
    rule::{
        Act, Content, Identity, Meaning, check_content, check_protected, meaning_of, next_state, rule_digest,
    },
    text::Checked,
    words::{Category, Profile, RuleState, RuleType, Scope, Source},
};
use runspine_types::{Micros, new_id};

use super::{
    App, Keyed, Who,
    emit::{About, event},
    layer,
    rules::{not_found, present, state_json},
    unreadable,
};
use crate::{
    present::finding,
    store::rules::{self, HeadRow, TransitionRow, VersionRow},
};

/// Most rules in force, and most drafts, of a tenant.
pub(super) const QUOTA: (i64, i64) = (10_000, 1_000);

/// Who does what, when, and why.
pub(super) struct Order {
    pub who: Who,
    pub profile: Profile,
    pub at: Micros,
    pub reason: String,
}

impl Order {
    /// The same order for another part of the act.
    pub(super) fn again(&self) -> Self {
        Self { who: self.who.clone(), profile: self.profile, at: self.at, reason: self.reason.clone() }
    }
}

impl App {
    pub(super) fn order(&self, who: &Who, reason: &str) -> Order {
        Order { who: who.clone(), profile: self.profile, at: self.now(), reason: reason.to_owned() }
    }

    /// Makes a rule with its first draft.
    pub(crate) async fn create_rule(
        &self,
        who: &Who,
        request: &pb::CreateRuleRequest,
        content: Content,
        rule_type: RuleType,
    ) -> Result<pb::CreateRuleResponse, Fault> {
        check_content(&content, &who.tenant, who.operator)?;
        let key = Keyed::by_request_id("policies.CreateRule", &request.request_id, request);
        let order = self.order(who, "CREATED");
        let made = self.keyed(who, key, move |tx| Box::pin(create(tx, order, content, rule_type, None)));
        made.await
    }

    /// Replaces the draft of a rule by a new version.
    pub(crate) async fn update_rule(
        &self,
        who: &Who,
        request: &pb::UpdateRuleRequest,
        content: Content,
        rule_type: RuleType,
    ) -> Result<pb::UpdateRuleResponse, Fault> {
        check_content(&content, &who.tenant, who.operator)?;
        let key = Keyed::by_request_id("policies.UpdateRule", &request.request_id, request);
        let order = self.order(who, "UPDATED");
        let (rule_id, revision) = (request.rule_id.clone(), request.expected_version);
        let draft = Draft { rule_id, revision, content, rule_type };
        self.keyed(who, key, move |tx| Box::pin(update(tx, order, draft))).await
    }
}

pub(super) async fn head(tx: &mut Tx, order: &Order, rule_id: &str) -> Result<HeadRow, Fault> {
    rules::head(tx, &order.who.tenant, rule_id).await?.ok_or_else(not_found)
}

pub(super) async fn version(tx: &mut Tx, order: &Order, rule_id: &str, n: u32) -> Result<VersionRow, Fault> {
    rules::version(tx, &order.who.tenant, rule_id, n).await?.ok_or_else(not_found)
}

pub(super) fn conflict() -> Fault {
    Fault::new(&reasons::VERSION_CONFLICT, "the rule was changed since it was read")
}

pub(super) async fn save(tx: &mut Tx, order: &Order, head: &mut HeadRow) -> Result<(), Fault> {
    if !rules::update_head(tx, &order.who.tenant, head).await? {
        return Err(conflict());
    }
    head.revision += 1;
    Ok(())
}

/// Moves a version, or refuses what the table does not know.
pub(super) async fn move_version(
    tx: &mut Tx,
    order: &Order,
    rule_id: &str,
    step: (u32, Option<RuleState>, Act),
    words: (&str, &str),
) -> Result<RuleState, Fault> {
    let (version, from, act) = step;
    let to = next_state(from, act).ok_or_else(|| {
        let state = from.map_or("none", RuleState::as_str);
        let text = format!("version {version} is {state}: this can't be done to it");
        Fault::new(&reasons::RULE_TRANSITION_INVALID, text)
            .precondition(format!("rules/{rule_id}"), "another state")
    })?;
    let row = TransitionRow {
        version,
        from_state: from.map_or(0, RuleState::code),
        to_state: to.code(),
        reason: words.0.to_owned(),
        successor: words.1.to_owned(),
        actor_type: order.who.actor.r#type,
        actor_id: order.who.actor.id.clone(),
        at: order.at,
    };
    rules::insert_transition(tx, &order.who.tenant, rule_id, &row).await?;
    Ok(to)
}

/// What a version is made of.
struct New<'a> {
    rule_id: &'a str,
    version: u32,
    parent: u32,
    content: Content,
    rule_type: RuleType,
    origin: Option<Origin>,
}

/// What a version was made of, besides somebody's hand.
pub(super) struct Origin {
    pub source: Source,
    pub proposal_id: String,
    /// Empty: none.
    pub lesson_id: String,
    /// Who wrote it, whoever brought it in.
    pub author: Actor,
}

/// A version with every default filled in, and what is wrong with its text.
async fn write_version(tx: &mut Tx, order: &Order, new: New<'_>) -> Result<(VersionRow, Checked), Fault> {
    let (name, description) = (new.content.name.clone(), new.content.description.clone());
    let template = new.content.template.clone();
    let (_, settings) = layer::settings(tx, &order.who.tenant, order.profile).await?;
    let identity = Identity { rule_id: new.rule_id, version: new.version, tenant: &order.who.tenant };
    let meaning = meaning_of(new.content, identity, settings.default_rule_mode)?;
    let found = meaning.check();
    let mut row = row_of(order, &meaning, (name, description), new.rule_type, new.parent);
    if let Some(template) = template {
        row.source = Source::Template.code();
        row.template = serde_json::to_string(&template).map_err(unreadable)?;
    }
    if let Some(origin) = new.origin {
        row.source = origin.source.code();
        (row.author_type, row.author_id) = (origin.author.r#type, origin.author.id);
        (row.proposal_id, row.lesson_id) = (origin.proposal_id, origin.lesson_id);
    }
    rules::insert_version(tx, &row).await?;
    Ok((row, found))
}

pub(super) fn row_of(
    order: &Order,
    meaning: &Meaning,
    words: (String, String),
    rule_type: RuleType,
    parent: u32,
) -> VersionRow {
    let bytes = meaning.bytes();
    VersionRow {
        tenant_id: order.who.tenant.clone(),
        rule_id: meaning.rule_id.clone(),
        version: meaning.version,
        name: words.0,
        description: words.1,
        rule_digest: rule_digest(&bytes),
        meaning: bytes.into(),
        mode: meaning.mode.code(),
        scope: meaning.scope.code(),
        category: meaning.category.code(),
        rule_type: rule_type.code(),
        source: Source::Manual.code(),
        parent_version: parent,
        author_type: order.who.actor.r#type,
        author_id: order.who.actor.id.clone(),
        created_at: order.at,
        proposal_id: String::new(),
        lesson_id: String::new(),
        template: String::new(),
    }
}

pub(super) fn emit<M: Message>(
    tx: &mut Tx,
    order: &Order,
    name: &'static str,
    rule_id: &str,
    states: (String, String),
    data: &M,
) {
    let about = About {
        entity_type: "rule",
        entity_id: rule_id.to_owned(),
        reason: order.reason.clone(),
        before: states.0,
        after: states.1,
        ..About::default()
    };
    tx.emit_raw(event(&order.who, name, about, data, order.at));
}

/// Makes a rule with its first draft.
pub(super) async fn create(
    tx: &mut Tx,
    order: Order,
    content: Content,
    rule_type: RuleType,
    origin: Option<Origin>,
) -> Result<pb::CreateRuleResponse, Fault> {
    let (_, drafts) = rules::counts(tx, &order.who.tenant).await?;
    if drafts >= QUOTA.1 {
        return Err(quota("drafts", QUOTA.1));
    }
    let rule_id = new_id();
    let head = HeadRow {
        rule_id: rule_id.clone(),
        slug: content.slug.clone(),
        mesh: content.scope == Some(Scope::Global),
        last_version: 1,
        active_version: 0,
        draft_version: 1,
        revision: 1,
        created_at: order.at,
    };
    if !rules::insert_head(tx, &order.who.tenant, &head).await? {
        let text = "another rule of this layer has this slug";
        return Err(Fault::new(&reasons::SLUG_TAKEN, text).with("slug", &head.slug));
    }
    let new = New { rule_id: &rule_id, version: 1, parent: 0, content, rule_type, origin };
    let (row, found) = write_version(tx, &order, new).await?;
    let state = move_version(tx, &order, &rule_id, (1, None, Act::Write), (&order.reason, "")).await?;
    tell_created(tx, &order, &row, String::new(), &head.slug);
    let findings = found.findings.iter().map(|f| finding(f, &rule_id, 1)).collect();
    Ok(pb::CreateRuleResponse { rule: Some(present(&row, state, head.revision)?), findings })
}

fn tell_created(tx: &mut Tx, order: &Order, row: &VersionRow, before: String, slug: &str) {
    let data = pb::RuleCreated {
        rule_id: row.rule_id.clone(),
        slug: slug.to_owned(),
        version: row.version,
        rule_digest: row.rule_digest.to_vec().into(),
    };
    emit(tx, order, "RuleCreated", &row.rule_id, (before, state_json(row, RuleState::Draft)), &data);
}

pub(super) fn quota(what: &str, limit: i64) -> Fault {
    let text = format!("the tenant has {limit} {what}, as many as it may have");
    Fault::new(&reasons::RULE_QUOTA, text.clone()).quota(what, text)
}

/// What an update asks for.
struct Draft {
    rule_id: String,
    revision: u64,
    content: Content,
    rule_type: RuleType,
}

async fn update(tx: &mut Tx, order: Order, draft: Draft) -> Result<pb::UpdateRuleResponse, Fault> {
    let mut head = head(tx, &order, &draft.rule_id).await?;
    if head.revision != draft.revision {
        return Err(conflict());
    }
    if head.slug != draft.content.slug || head.mesh != (draft.content.scope == Some(Scope::Global)) {
        let fault =
            Fault::new(&runspine_errors::mesh::FIELD_INVALID, "slug and layer of a rule can't change");
        return Err(fault.field("content.slug", "IMMUTABLE", "that of the rule"));
    }
    let parent = head.last_version;
    let old = version(tx, &order, &draft.rule_id, parent).await?;
    check_protected(old.category == Category::System.code(), order.who.operator)?;
    let number = parent + 1;
    let new = New {
        rule_id: &draft.rule_id,
        version: number,
        parent,
        content: draft.content,
        rule_type: draft.rule_type,
        origin: None,
    };
    let (row, found) = write_version(tx, &order, new).await?;
    if head.draft_version > 0 {
        let step = (head.draft_version, Some(RuleState::Draft), Act::Retire);
        move_version(tx, &order, &draft.rule_id, step, ("REPLACED", &number.to_string())).await?;
    }
    let step = (number, None, Act::Write);
    let state = move_version(tx, &order, &draft.rule_id, step, (&order.reason, "")).await?;
    let before = state_json(&old, head.state_of(parent));
    (head.last_version, head.draft_version) = (number, number);
    save(tx, &order, &mut head).await?;
    tell_created(tx, &order, &row, before, &head.slug);
    let findings = found.findings.iter().map(|f| finding(f, &draft.rule_id, number)).collect();
    Ok(pb::UpdateRuleResponse { rule: Some(present(&row, state, head.revision)?), findings })
}
