//! GrantLease and ReleaseLease.

use contracts_activity::v1::{
    GrantLeaseRequest, GrantLeaseResponse, ReleaseLeaseRequest, ReleaseLeaseResponse,
};
use runspine_activity_domain::{lease as rules, transition::stale_fence};
use runspine_errors::Outcome;

use crate::{
    app::{App, Keyed, Who},
    rpc::present,
    store::{lease, state},
};

pub(crate) async fn grant(app: &App, who: Who, request: GrantLeaseRequest) -> Outcome<GrantLeaseResponse> {
    let call = Keyed::new("GrantLease", request.request_id.clone(), &request);
    let (tenant, clock, orphan_ms) = (who.tenant.clone(), app.clock.clone(), app.config.orphan_ms());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move {
            let now = clock.now();
            let found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
            let mut held = lease::lock(tx, found.attempt_key).await?;
            let ttl_ms = rules::ttl(request.ttl_ms, found.lease_ttl_ms)?;
            let standing = (found.phase()?, found.status()?);
            let granted = rules::grant(&held.lease(), standing, &request.holder, ttl_ms, now)?;
            let answer = GrantLeaseResponse { lease: Some(present::lease(&granted)) };
            held.put(granted);
            held.last_seen_at = Some(now);
            lease::set_alarms(&mut held, &found, orphan_ms, now);
            lease::save(tx, vec![held]).await?;
            Ok(answer)
        })
    })
    .await
}

pub(crate) async fn release(
    app: &App,
    who: Who,
    request: ReleaseLeaseRequest,
) -> Outcome<ReleaseLeaseResponse> {
    let call = Keyed::new("ReleaseLease", request.request_id.clone(), &request);
    let (tenant, clock, orphan_ms) = (who.tenant.clone(), app.clock.clone(), app.config.orphan_ms());
    app.keyed(&tenant, call, move |tx| {
        Box::pin(async move {
            let now = clock.now();
            let found = state::lock(tx, &who.tenant, &request.run_id, request.attempt).await?;
            let mut held = lease::lock(tx, found.attempt_key).await?;
            if i64::try_from(request.fence).unwrap_or(i64::MAX) != held.fence {
                return Err(stale_fence(held.fence));
            }
            let released = held.lease_fence != 0;
            held.put(held.lease().released());
            // A claim is given back with the same word.
            (held.claimed_until, held.claimed_by) = (None, String::new());
            lease::set_alarms(&mut held, &found, orphan_ms, now);
            lease::save(tx, vec![held]).await?;
            Ok(ReleaseLeaseResponse { released })
        })
    })
    .await
}
