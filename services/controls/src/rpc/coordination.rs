//! CoordinationService.

use contracts_controls::v1::{self as pb, coordination_service_server::CoordinationService};
use runspine_controls_domain::coordination::NamedLease;
use runspine_errors::mesh;
use runspine_rpc::{Context, context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, checks::Checks};
use crate::{app::coordination::Named, words::optional};

#[tonic::async_trait]
impl CoordinationService for Rpc {
    async fn acquire_lease(
        &self,
        request: Request<pb::AcquireLeaseRequest>,
    ) -> Result<Response<pb::AcquireLeaseResponse>, Status> {
        let context = context(&request)?;
        let pb::AcquireLeaseRequest { name, holder, ttl_ms } = request.into_inner();
        let mut checks = named(&name, &holder);
        expect_ttl(&mut checks, ttl_ms);
        checks.done(Some(())).map_err(status)?;
        let (lease, held) =
            self.app.acquire_lease(of(&context, &name, holder), ttl_ms).await.map_err(status)?;
        Ok(Response::new(pb::AcquireLeaseResponse { lease: Some(present(name, lease)), held }))
    }

    async fn renew_lease(
        &self,
        request: Request<pb::RenewLeaseRequest>,
    ) -> Result<Response<pb::RenewLeaseResponse>, Status> {
        let context = context(&request)?;
        let pb::RenewLeaseRequest { name, holder, ttl_ms, fence } = request.into_inner();
        let mut checks = named(&name, &holder);
        expect_ttl(&mut checks, ttl_ms);
        checks.require(fence > 0, &mesh::FIELD_INVALID, "fence", "must be 1 or more");
        checks.done(Some(())).map_err(status)?;
        let lease = self.app.renew_lease(of(&context, &name, holder), fence, ttl_ms).await.map_err(status)?;
        Ok(Response::new(pb::RenewLeaseResponse { lease: Some(present(name, lease)) }))
    }

    async fn release_lease(
        &self,
        request: Request<pb::ReleaseLeaseRequest>,
    ) -> Result<Response<pb::ReleaseLeaseResponse>, Status> {
        let context = context(&request)?;
        let pb::ReleaseLeaseRequest { name, holder, fence, done_at } = request.into_inner();
        let mut checks = named(&name, &holder);
        checks.require(fence > 0, &mesh::FIELD_INVALID, "fence", "must be 1 or more");
        let done_at = checks.time("done_at", done_at.as_ref());
        checks.done(Some(())).map_err(status)?;
        let lease =
            self.app.release_lease(of(&context, &name, holder), fence, done_at).await.map_err(status)?;
        Ok(Response::new(pb::ReleaseLeaseResponse { lease: Some(present(name, lease)) }))
    }
}

fn named(name: &str, holder: &str) -> Checks {
    let mut checks = Checks::default();
    checks.words_of("name", name, 1, 128);
    checks.words_of("holder", holder, 1, 128);
    checks
}

fn expect_ttl(checks: &mut Checks, ttl_ms: i64) {
    let fits = (5_000..=300_000).contains(&ttl_ms);
    checks.require(fits, &mesh::FIELD_INVALID, "ttl_ms", "must be 5,000 to 300,000");
}

fn of(context: &Context, name: &str, holder: String) -> Named {
    Named { tenant_id: context.tenant_id.clone(), name: name.to_owned(), holder }
}

fn present(name: String, lease: NamedLease) -> pb::NamedLease {
    let held = lease.expires_at.is_some();
    pb::NamedLease {
        name,
        holder: if held { lease.holder } else { String::new() },
        fence: lease.fence,
        expires_at: optional(lease.expires_at),
        last_done: optional(lease.last_done),
    }
}
