//! What BudgetService shows.

use contracts_controls::v1 as pb;
use prost::Message as _;
use runspine_controls_domain::{
    reasons,
    verify::Sums,
    words::{EntryKind, HoldState, Scope},
};
use runspine_errors::{Fault, mesh};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use super::{Rpc, after, checks::Checks, cut, query_of};
use crate::{
    app::present::envelope_to,
    store::{
        evidence,
        rows::{LeaseRow, lease_state},
        views::{self, EntryRow, EnvelopeFilter, EnvelopeView},
    },
    words::{amounts_to, optional},
};

/// Most holds that are shown of a run.
const MOST_HOLDS: i64 = 500;
/// Most envelopes that a run is counted in.
const MOST_ENVELOPES: i64 = 10_000;

impl Rpc {
    pub(super) async fn run_budget(
        &self,
        tenant: &str,
        request: pb::GetRunBudgetRequest,
    ) -> Result<pb::GetRunBudgetResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("run_id", &request.run_id);
        checks.done(Some(()))?;
        let read = self.app.db.read();
        let lease = views::lease(read, tenant, &request.run_id, request.attempt).await?;
        let lease = lease.ok_or_else(|| {
            Fault::new(&reasons::RUN_LEASE_NOT_FOUND, "controls has no lease of this run attempt")
        })?;
        let filter = EnvelopeFilter {
            run_key: Some(lease.run_key),
            limit: MOST_ENVELOPES,
            ..EnvelopeFilter::default()
        };
        let envelopes = self.envelope_views(tenant, &filter).await?;
        let settlement = evidence::settlement(read, lease.run_key).await?.map(settlement_of).transpose()?;
        let live = lease.state == lease_state::OPEN;
        Ok(pb::GetRunBudgetResponse {
            attempt: lease.attempt,
            allocations: self.allocations(&lease, &envelopes).await?,
            holds: self.holds(&lease, &envelopes).await?,
            headroom: envelopes.iter().map(headroom_to).collect(),
            fence: lease.fence,
            lease_expires_at: optional(lease.expires_at.filter(|_| live)),
            settlement_id: settlement.map_or_else(String::new, |s| s.settlement_id),
        })
    }

    async fn allocations(
        &self,
        lease: &LeaseRow,
        envelopes: &[EnvelopeView],
    ) -> Result<Vec<pb::AllocationSummary>, Fault> {
        let rows = evidence::allocations(self.app.db.read(), lease.run_key).await?;
        let row = |a: crate::store::rows::AllocationRow| {
            let view = envelopes.iter().find(|v| v.envelope.envelope_key == a.envelope_key)?;
            Some(pb::AllocationSummary {
                envelope_id: view.envelope.envelope_id.clone(),
                limit_id: view.limit.id.clone(),
                unit: view.limit.spec.unit.code(),
                granted: a.granted,
                held: a.held,
                spent: a.spent,
                used: a.used,
                unfunded: a.unfunded,
                open: a.open,
            })
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    async fn holds(&self, lease: &LeaseRow, envelopes: &[EnvelopeView]) -> Result<Vec<pb::Hold>, Fault> {
        let read = self.app.db.read();
        let holds = evidence::active_holds(read, lease.run_key, MOST_HOLDS).await?;
        let lines = evidence::active_lines(read, lease.run_key).await?;
        let hold = |hold: runspine_controls_domain::hold::Hold| {
            let mine = lines.iter().filter(|l| (l.0, l.1) == (hold.key.1, hold.key.2));
            let line = |l: &(i64, i64, i64, i64, bool)| {
                let view = envelopes.iter().find(|v| v.envelope.envelope_key == l.2)?;
                Some(pb::HoldLine {
                    envelope_id: view.envelope.envelope_id.clone(),
                    limit_id: view.limit.id.clone(),
                    unit: view.limit.spec.unit.code(),
                    amount: l.3,
                    unfunded: l.4,
                })
            };
            pb::Hold {
                run_id: lease.run_id.clone(),
                attempt: lease.attempt,
                step_index: u32::try_from(hold.key.1).unwrap_or(0),
                ask: u32::try_from(hold.key.2).unwrap_or(0),
                state: HoldState::Active.code(),
                amounts: Some(amounts_to(&hold.amounts)),
                estimate_source: hold.source.code(),
                lines: mine.filter_map(line).collect(),
                released_for: String::new(),
                hold_id: hold.id,
            }
        };
        Ok(holds.into_iter().map(hold).collect())
    }

    pub(super) async fn envelope(
        &self,
        tenant: &str,
        request: pb::GetEnvelopeRequest,
    ) -> Result<pb::GetEnvelopeResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("id", &request.id);
        let at = checks.time("at", request.at.as_ref());
        checks.done(Some(()))?;
        let view = self.view(tenant, request.id, at).await?;
        Ok(pb::GetEnvelopeResponse { envelope: Some(envelope_to(&view, self.app.clock.now())) })
    }

    async fn view(&self, tenant: &str, id: String, at: Option<Micros>) -> Result<EnvelopeView, Fault> {
        let filter = EnvelopeFilter { id: Some(id), at, limit: 2, ..EnvelopeFilter::default() };
        let mut found = self.envelope_views(tenant, &filter).await?;
        // A limit of `*` has many: none of them is the one.
        match (found.pop(), found.is_empty()) {
            (Some(view), true) => Ok(view),
            _ => Err(Fault::new(&reasons::ENVELOPE_NOT_FOUND, "no such envelope or period")),
        }
    }

    pub(super) async fn envelopes(
        &self,
        tenant: &str,
        request: pb::ListEnvelopesRequest,
    ) -> Result<pb::ListEnvelopesResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("limit_id", &request.limit_id);
        checks.filter("scopes", &request.scopes, Scope::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::ListEnvelopesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("envelopes", tenant, &bare);
        let filter = EnvelopeFilter {
            limit_id: Some(request.limit_id).filter(|id| !id.is_empty()),
            scopes: request.scopes,
            scope_id: Some(request.scope_id).filter(|id| !id.is_empty()),
            after: after(&request.page_token, query, 0)?,
            limit: size.probe(),
            ..EnvelopeFilter::default()
        };
        let mut rows = self.envelope_views(tenant, &filter).await?;
        let next_page_token = cut(&mut rows, size, query, |view| view.envelope.envelope_key);
        let now = self.app.clock.now();
        let envelopes = rows.iter().map(|view| envelope_to(view, now)).collect();
        Ok(pb::ListEnvelopesResponse { envelopes, next_page_token })
    }

    pub(super) async fn entries(
        &self,
        tenant: &str,
        request: pb::ListBudgetEntriesRequest,
    ) -> Result<pb::ListBudgetEntriesResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_id("envelope_id", &request.envelope_id);
        checks.optional_id("run_id", &request.run_id);
        checks.filter("kinds", &request.kinds, EntryKind::from_code);
        let since = checks.time("since", request.since.as_ref());
        let until = checks.time("until", request.until.as_ref());
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare =
            pb::ListBudgetEntriesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("entries", tenant, &bare);
        let behind = after(&request.page_token, query, 0)?;
        let read = self.app.db.read();
        let mut rows = views::entries(read, tenant, &request, (since, until), behind, size.probe()).await?;
        let next_page_token = cut(&mut rows, size, query, |row| row.entry_seq);
        let entries = rows.into_iter().map(entry_to).collect::<Result<_, Fault>>()?;
        Ok(pb::ListBudgetEntriesResponse { entries, next_page_token })
    }

    pub(super) async fn verify(
        &self,
        tenant: &str,
        request: pb::VerifyEnvelopeRequest,
    ) -> Result<pb::VerifyEnvelopeResponse, Fault> {
        let mut checks = Checks::default();
        checks.id("envelope_id", &request.envelope_id);
        let at = checks.time("at", request.at.as_ref());
        checks.done(Some(()))?;
        let mut view = self.view(tenant, request.envelope_id, at).await?;
        let key = view.period.key;
        let audited = views::audited(self.app.db.read(), key.0, key.1).await?;
        view.period = audited.period;
        let mut sums = Sums::default();
        audited.entries.iter().for_each(|entry| sums.add(entry));
        let mut differences: Vec<pb::EnvelopeDifference> = sums
            .differences(&view.period)
            .into_iter()
            .map(|(field, stored, computed)| difference(field.to_owned(), stored, computed))
            .collect();
        for (run, used, unfunded, run_id, attempt) in audited.runs {
            let (sum_used, sum_unfunded) = sums.runs.get(&run).copied().unwrap_or_default();
            if used + unfunded != sum_used + sum_unfunded {
                let field = format!("allocation:{run_id}/{attempt}");
                differences.push(difference(field, used + unfunded, sum_used + sum_unfunded));
            }
        }
        Ok(pb::VerifyEnvelopeResponse {
            equal: differences.is_empty(),
            differences,
            entries: i64::try_from(audited.entries.len()).unwrap_or(i64::MAX),
            period: envelope_to(&view, self.app.clock.now()).period,
        })
    }
}

fn difference(field: String, stored: i64, computed: i64) -> pb::EnvelopeDifference {
    pb::EnvelopeDifference { field, stored, computed }
}

/// The settlement in a kept answer.
///
/// # Errors
/// When it can't be read.
pub(super) fn settlement_of(answer: bytes::Bytes) -> Result<pb::Settlement, Fault> {
    let unreadable = || Fault::new(&mesh::INTERNAL, "a settlement can't be read");
    let response = pb::SettleRunResponse::decode(answer).map_err(|_| unreadable())?;
    response.settlement.ok_or_else(unreadable)
}

fn headroom_to(view: &EnvelopeView) -> pb::LimitHeadroom {
    pb::LimitHeadroom {
        limit_id: view.limit.id.clone(),
        envelope_id: view.envelope.envelope_id.clone(),
        unit: view.limit.spec.unit.code(),
        usage: view.usage(),
        held: view.held,
        limit_value: view.period.limit_value(&view.limit),
        headroom: view.headroom(),
    }
}

fn entry_to(row: EntryRow) -> Result<pb::BudgetEntry, Fault> {
    let spec = pb::LimitSpec::decode(row.spec)
        .map_err(|_| Fault::new(&mesh::INTERNAL, "a stored limit can't be read"))?;
    Ok(pb::BudgetEntry {
        sequence: u64::try_from(row.entry_seq).unwrap_or(0),
        envelope_id: row.envelope_id,
        period_start: Some(timestamp(row.period_start)),
        kind: row.kind,
        funding: row.funding.unwrap_or(0),
        amount: row.amount,
        unit: spec.unit,
        run_id: row.run_id.unwrap_or_default(),
        attempt: row.attempt.unwrap_or(0),
        step_index: row.step_index,
        hold_id: row.hold_id.unwrap_or_default(),
        settlement_id: row.settlement_id.unwrap_or_default(),
        actor_id: row.actor_id.unwrap_or_default(),
        at: Some(timestamp(row.at)),
    })
}
