//! ApprovalService.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Poller, Poll},
};

use contracts_policies::v1 as pb;
use contracts_policies::v1::approval_service_server::ApprovalService;
use futures::Stream;
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{rule::check_reason, words::ApprovalState};
use runspine_types::is_uuid_v7;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse};
use crate::app::{
    Keyed, Who,
    approval::{vote::Ballot, watch},
};

/// Messages that wait for a slow reader.
const WAITING: usize = 16;

/// The stream of changes; the work behind it ends when it is dropped.
pub(crate) struct Changes(mpsc::Receiver<Result<pb::WatchApprovalsResponse, Status>>);

impl Stream for Changes {
    type Item = Result<pb::WatchApprovalsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

#[tonic::async_trait]
impl ApprovalService for Rpc {
    type WatchApprovalsStream = Changes;

    async fn get_approval(
        &self,
        request: Request<pb::GetApprovalRequest>,
    ) -> Result<Response<pb::GetApprovalResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match id(&r.approval_id) {
            Ok(()) => self.app.approval(&who, &r.approval_id).await,
            Err(fault) => Err(fault),
        })
    }

    async fn list_approvals(
        &self,
        request: Request<pb::ListApprovalsRequest>,
    ) -> Result<Response<pb::ListApprovalsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.listed(&who, r).await)
    }

    async fn approve(
        &self,
        request: Request<pb::ApproveRequest>,
    ) -> Result<Response<pb::ApproveResponse>, Status> {
        let (who, r) = self.open(request)?;
        let short = r.note.chars().count() <= 500;
        let parsed = ballot(&r.request_id, &r.approval_id, &r.action_digest, (&r.note, short));
        let key = Keyed::by_request_id("policies.Approve", &r.request_id, &r);
        let done = match parsed {
            Ok(ballot) => self.app.vote(&who, key, ballot).await,
            Err(fault) => Err(fault),
        };
        answer(done.map(|a| pb::ApproveResponse { approval: Some(a) }))
    }

    async fn reject(
        &self,
        request: Request<pb::RejectRequest>,
    ) -> Result<Response<pb::RejectResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = ballot(&r.request_id, &r.approval_id, &r.action_digest, (&r.reason, true));
        let key = Keyed::by_request_id("policies.Reject", &r.request_id, &r);
        let done = match parsed.and_then(|b| check_reason(&r.reason).map(|()| b)) {
            Ok(ballot) => {
                let ballot = Ballot { kind: pb::ApprovalVoteKind::Reject, ..ballot };
                self.app.vote(&who, key, ballot).await
            }
            Err(fault) => Err(fault),
        };
        answer(done.map(|a| pb::RejectResponse { approval: Some(a) }))
    }

    async fn escalate(
        &self,
        request: Request<pb::EscalateRequest>,
    ) -> Result<Response<pb::EscalateResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = parse::request_id(&r.request_id).and(id(&r.approval_id)).and(check_reason(&r.reason));
        answer(match parsed {
            Ok(()) => self.app.escalate(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn cancel_approvals(
        &self,
        request: Request<pb::CancelApprovalsRequest>,
    ) -> Result<Response<pb::CancelApprovalsResponse>, Status> {
        let (who, r) = self.open(request)?;
        let mut v = Violations::new();
        v.require(is_uuid_v7(&r.run_id), "run_id", "ID_INVALID", "a UUIDv7");
        let length = r.reason.chars().count();
        v.require((1..=500).contains(&length), "reason", "OUT_OF_RANGE", "1 to 500 characters");
        let parsed = parse::request_id(&r.request_id).and(v.into_result(&mesh::FIELD_INVALID));
        answer(match parsed {
            Ok(()) => self.app.cancel_approvals(&who, &r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn watch_approvals(
        &self,
        request: Request<pb::WatchApprovalsRequest>,
    ) -> Result<Response<Changes>, Status> {
        let (who, r) = self.open(request)?;
        if let Err(fault) = filter(&r.states, &r.run_id) {
            return answer(Err(fault));
        }
        let (sender, messages) = mpsc::channel(WAITING);
        tokio::spawn(watch::run(Arc::clone(&self.app), who.tenant, r, sender));
        Ok(Response::new(Changes(messages)))
    }
}

impl Rpc {
    async fn listed(
        &self,
        who: &Who,
        mut r: pb::ListApprovalsRequest,
    ) -> Result<pb::ListApprovalsResponse, Fault> {
        filter(&r.states, &r.run_id)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let asked = page::asked("approvals", &r.encode_to_vec(), size, &token)?;
        let rows = self.app.approvals(who, &r, asked.page()).await?;
        let (approvals, next_page_token) = asked.cut(rows);
        Ok(pb::ListApprovalsResponse { approvals, next_page_token })
    }
}

fn id(approval_id: &str) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require(is_uuid_v7(approval_id), "approval_id", "ID_INVALID", "a UUIDv7");
    v.into_result(&mesh::FIELD_INVALID)
}

fn filter(states: &[i32], run_id: &str) -> Result<(), Fault> {
    let mut v = Violations::new();
    parse::known(&mut v, "states", states, ApprovalState::from_code);
    v.require(run_id.is_empty() || is_uuid_v7(run_id), "run_id", "ID_INVALID", "a UUIDv7, or empty");
    v.into_result(&mesh::FIELD_INVALID)
}

/// A vote for the action; who votes against it changes the kind.
fn ballot(
    request_id: &str,
    approval_id: &str,
    action: &[u8],
    (note, short): (&str, bool),
) -> Result<Ballot, Fault> {
    parse::request_id(request_id)?;
    let mut v = Violations::new();
    v.require(is_uuid_v7(approval_id), "approval_id", "ID_INVALID", "a UUIDv7");
    v.require(short, "note", "TOO_LONG", "at most 500 characters");
    v.into_result(&mesh::FIELD_INVALID)?;
    Ok(Ballot {
        approval_id: approval_id.to_owned(),
        kind: pb::ApprovalVoteKind::Approve,
        action: parse::digest("action_digest", action)?,
        note: note.to_owned(),
    })
}
