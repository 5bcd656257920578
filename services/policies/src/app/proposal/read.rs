//! Proposals as they are read.

use contracts_common::common::v1::Actor;
use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_rpc::timestamp;

use super::{not_found, proposal};
use crate::{
    app::{App, Who, read::Page},
    store::{
        lists::Filter,
        proposals::{self, ProposalRow},
    },
};

impl App {
    /// One proposal, with what was said of it.
    pub(crate) async fn proposal(&self, who: &Who, id: &str) -> Result<pb::Proposal, Fault> {
        let row = proposals::read(self.db.read(), &who.tenant, id).await?.ok_or_else(not_found)?;
        let mut found = proposal(&row)?;
        let reviews = proposals::reviews(self.db.read(), row.id).await?;
        found.reviews = reviews
            .into_iter()
            .map(|r| pb::ProposalReview {
                revision: r.revision,
                outcome: r.outcome,
                reviewer: Some(Actor { r#type: r.actor_type, id: r.actor_id }),
                note: r.note,
                backtest_id: r.backtest_id,
                at: Some(timestamp(r.at)),
            })
            .collect();
        Ok(found)
    }

    /// Proposals, newest first, with their keys.
    pub(crate) async fn proposals(
        &self,
        who: &Who,
        request: &pb::ListProposalsRequest,
        page: Page,
    ) -> Result<Vec<(i64, pb::Proposal)>, Fault> {
        let run = (!request.source_run_id.is_empty()).then(|| request.source_run_id.clone());
        let filter = Filter::tenant("tenant_id", &who.tenant)
            .any_of("state", &request.states)
            .any_of("kind", &request.kinds)
            .and_if("run_id =", run)
            .and_if("id <", page.before);
        let rows: Vec<ProposalRow> =
            filter.fetch(self.db.read(), proposals::PROPOSAL, "id DESC", page.limit).await?;
        rows.iter().map(|row| Ok((row.id, proposal(row)?))).collect()
    }
}
