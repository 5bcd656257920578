//! Approvals as people see them.

use contracts_common::common::v1 as common;
use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_policies_domain::{
    approval::check_vote,
    facts::{Arguments, Inputs, Question, Resource},
    settings,
    words::{ApprovalState, ResourceType},
};
use runspine_rpc::timestamp;
use runspine_types::Digest;

use super::{not_found, present, vote};
use crate::{
    app::{App, Who, cache::LoadError, read::Page},
    store::{
        approvals::{self, APPROVAL, ApprovalRow},
        lists::Filter,
    },
};

impl App {
    /// One approval with its votes and what it is about.
    pub(crate) async fn approval(&self, who: &Who, id: &str) -> Result<pb::GetApprovalResponse, Fault> {
        let row = approvals::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        let votes = approvals::votes(self.db.read(), row.id).await?;
        let votes = votes.into_iter().map(|v| pb::ApprovalVote {
            voter_id: v.voter_id,
            kind: v.kind,
            level: v.level,
            note: v.note,
            at: Some(timestamp(v.at)),
        });
        Ok(pb::GetApprovalResponse {
            approval: Some(present(&row, self.now())),
            votes: votes.collect(),
            subject: Some(self.subject(who, &row).await?),
        })
    }

    /// What an approver has to know: from the decision that asked, as long as its inputs are not erased.
    async fn subject(&self, who: &Who, row: &ApprovalRow) -> Result<pb::ApprovalSubject, Fault> {
        let kept = self.decision(who, &row.decision_id).await?;
        let start = self.start_of(who, &row.run_id, row.attempt).await?;
        let goal = match start.as_ref().map(|i| &i.question) {
            Some(Question::Start(q)) => Digest::from_hex(&q.goal_digest),
            _ => None,
        };
        let history = self.evidence(who, &row.run_id, row.attempt).await?.counts;
        let decision = kept.decision;
        let mut subject = pb::ApprovalSubject {
            goal_digest: goal.map(|d| d.to_vec().into()).unwrap_or_default(),
            kind: decision.kind,
            resource: decision.resource,
            name: decision.name,
            reasons: decision.reasons,
            obligations: decision.obligations,
            history,
            ..pb::ApprovalSubject::default()
        };
        match Inputs::from_bytes(&kept.inputs).map(|i| i.question) {
            Some(Question::Step(q)) => {
                let digest = Digest::from_hex(&q.arguments_digest);
                subject.arguments_digest = digest.map(|d| d.to_vec().into()).unwrap_or_default();
                subject.estimate = Some(amounts(&q.estimate));
                let (seen, redacted) = self.shown(who, row.snapshot_digest, &q.resource, q.arguments).await?;
                subject.arguments = (!seen.is_empty()).then(|| arguments(seen));
                subject.redacted_arguments = redacted;
            }
            Some(Question::Start(q)) => subject.estimate = Some(amounts(&q.requested)),
            _ => {}
        }
        Ok(subject)
    }

    /// Arguments without those that the settings of the snapshot keep from approvers.
    async fn shown(
        &self,
        who: &Who,
        digest: Digest,
        resource: &Resource,
        given: Arguments,
    ) -> Result<(Arguments, Vec<String>), Fault> {
        let snapshot =
            self.cache.snapshot(&self.db, &who.tenant, digest).await.map_err(LoadError::into_fault)?;
        Ok(match snapshot.settings.selected_arguments.get(&resource.id) {
            Some(by) if resource.kind == ResourceType::Tool => settings::shown(given, by),
            _ => (given, Vec::new()),
        })
    }

    async fn start_of(
        &self,
        who: &Who,
        run_id: &str,
        attempt: u32,
    ) -> Result<Option<Inputs<'static>>, Fault> {
        let first = self.export(who, run_id, attempt, 0, 1).await?;
        Ok(first.first().and_then(|kept| Inputs::from_bytes(&kept.inputs)))
    }

    /// Approvals, newest first, with their keys. A state is that of now: rows that may be in it are read, and looked at.
    pub(crate) async fn approvals(
        &self,
        who: &Who,
        request: &pb::ListApprovalsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Approval)>, Fault> {
        let run = (!request.run_id.is_empty()).then_some(request.run_id.as_str());
        let stored = stored_states(request);
        let (mut out, mut before) = (Vec::new(), page.before);
        loop {
            let filter = Filter::tenant("a.tenant_id", &who.tenant)
                .and_if("a.run_id =", run)
                .any_of("a.state", &stored)
                .and_if("a.id <", before);
            let rows: Vec<ApprovalRow> =
                filter.fetch(self.db.read(), APPROVAL, "a.id DESC", page.limit).await?;
            let Some(last) = rows.last().map(|r| r.id) else { return Ok(out) };
            before = Some(last);
            for row in rows {
                if self.is_wanted(who, request, &row).await? {
                    out.push((row.id, present(&row, self.now())));
                }
            }
            if out.len() >= usize::try_from(page.limit).unwrap_or(usize::MAX) {
                return Ok(out);
            }
        }
    }

    async fn is_wanted(
        &self,
        who: &Who,
        request: &pb::ListApprovalsRequest,
        row: &ApprovalRow,
    ) -> Result<bool, Fault> {
        let now = self.now();
        let state = row.approval().at(now).state.code();
        if !request.states.is_empty() && !request.states.contains(&state) {
            return Ok(false);
        }
        if !request.mine {
            return Ok(true);
        }
        let (voter, digest) = (vote::voter(who), row.action_digest);
        let may = check_vote(&row.approval(), &vote::requester(row), &voter, (digest, digest), now).is_ok();
        Ok(may && !approvals::has_voted(self.db.read(), row.id, voter.person()).await?)
    }
}

/// The stored states that time may have turned into one that is asked for; none: any.
fn stored_states(request: &pb::ListApprovalsRequest) -> Vec<i32> {
    use ApprovalState as S;
    let open = [S::Pending, S::Escalated];
    let mut codes: Vec<i32> = request.states.clone();
    for state in request.states.iter().filter_map(|s| S::from_code(*s)) {
        match state {
            S::Escalated | S::Expired => codes.extend(open.map(S::code)),
            S::Lapsed => codes.push(S::Approved.code()),
            _ => {}
        }
    }
    if request.mine && codes.is_empty() {
        codes.extend(open.map(S::code));
    }
    codes
}

fn amounts(e: &runspine_policies_domain::facts::Estimate) -> common::Amounts {
    common::Amounts {
        cost_microusd: e.cost_microusd,
        tokens_input: e.tokens_input,
        tokens_output: e.tokens_output,
        duration_ms: e.duration_ms,
    }
}

fn arguments(a: Arguments) -> pb::Arguments {
    pb::Arguments {
        text: a.text.into_iter().collect(),
        number: a.number.into_iter().collect(),
        list: a.list.into_iter().map(|(k, values)| (k, pb::StringList { values })).collect(),
        flags: a.flags,
    }
}
