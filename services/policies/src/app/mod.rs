//! The use cases. Each opens and commits the one transaction of its call.

pub(crate) mod analysis;
pub(crate) mod approval;
pub(crate) mod cache;
pub(crate) mod emit;
pub(crate) mod enforce_rule;
pub(crate) mod evaluations;
pub(crate) mod health;
pub(crate) mod hits;
pub(crate) mod judge;
pub(crate) mod layer;
pub(crate) mod lesson;
pub(crate) mod metrics;
pub(crate) mod monitors;
pub(crate) mod observe;
pub(crate) mod preventions;
pub(crate) mod proposal;
pub(crate) mod read;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod settings;
pub(crate) mod snapshots;
pub(crate) mod step;
pub(crate) mod violations;
pub(crate) mod write_rule;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use contracts_common::common::v1::{Actor, ActorType};
use prost::Message;
use runspine_db::{Batcher, BoxFuture, Db, KeptAnswer, Replayed, Tx};
use runspine_errors::{Fault, mesh};
use runspine_policies_domain::words::Profile;
use runspine_types::{Clock, Digest, Micros, hash};

use crate::{config::Config, store::hot::StoreSteps};

/// Who calls, for whom.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub tenant: String,
    pub actor: Actor,
    /// The person who owns the credential; empty: none.
    pub owner_id: String,
    /// The caller's roles.
    pub roles: Vec<String>,
    /// Whether the caller is an operator of the mesh.
    pub operator: bool,
    pub project_id: String,
    pub run_id: String,
    pub correlation_id: String,
    pub causation_id: String,
    pub config_digest: Bytes,
    pub profile: Profile,
}

impl Who {
    /// The domain itself, for a tenant.
    pub(crate) fn of_the_mesh(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            actor: Actor { r#type: ActorType::System.into(), id: "policies".to_owned() },
            owner_id: String::new(),
            roles: Vec::new(),
            operator: false,
            project_id: String::new(),
            run_id: String::new(),
            correlation_id: String::new(),
            causation_id: String::new(),
            config_digest: Bytes::new(),
            profile: Profile::Strict,
        }
    }
}

/// What the use cases share.
pub(crate) struct App {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    /// The profile of the process: gives the default settings.
    pub profile: Profile,
    pub steps: Batcher<StoreSteps>,
    pub cache: cache::Cache,
    pub monitors: monitors::Monitors,
    pub budget: Duration,
    /// Grows with each change of a back-test in this process.
    pub backtests: tokio::sync::watch::Sender<u64>,
    pub shadows: sandbox::tap::Shadows,
    pub hits: hits::Hits,
    pub probes: runspine_boot::Parts,
}

impl App {
    pub(crate) fn new(db: Db, clock: Arc<dyn Clock>, profile: Profile, config: &Config) -> Self {
        let steps = db.batcher(StoreSteps);
        let budget = Duration::from_millis(config.evaluation_budget_ms.max(1));
        Self {
            db,
            clock,
            profile,
            steps,
            cache: cache::Cache::new(config),
            monitors: monitors::Monitors::new(cache::size(config.runs)),
            budget,
            backtests: tokio::sync::watch::Sender::new(0),
            shadows: sandbox::tap::Shadows::new(),
            hits: hits::Hits::new(),
            probes: runspine_boot::Parts::default(),
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// The first answer, when this request was answered before: for operations that look at what may have changed since.
    pub(crate) async fn answered<A>(&self, who: &Who, key: &Keyed) -> Result<Option<A>, Fault>
    where
        A: Message + Default + Send + 'static,
    {
        let (tenant, operation, request) = (who.tenant.clone(), key.operation, key.request);
        let id = key.key.clone();
        self.db
            .write(operation, move |tx| {
                Box::pin(async move {
                    match tx.replay(&tenant, operation, &id, request).await? {
                        Replayed::Replay(answer) => A::decode(answer).map(Some).map_err(unreadable),
                        _ => Ok(None),
                    }
                })
            })
            .await
    }

    /// Tells those who wait for back-tests that one of them moved.
    pub(crate) fn backtests_moved(&self) {
        self.backtests.send_modify(|n| *n += 1);
    }

    /// Runs a keyed operation: a repeat gives the first answer, another request under the same key is refused.
    pub(crate) async fn keyed<A, F>(&self, who: &Who, key: Keyed, run: F) -> Result<A, Fault>
    where
        A: Message + Default + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<A, Fault>> + Send + 'static,
    {
        let (tenant, at) = (who.tenant.clone(), self.now());
        self.db
            .write(key.operation, move |tx| {
                Box::pin(async move {
                    if let Replayed::Replay(answer) =
                        tx.replay(&tenant, key.operation, &key.key, key.request).await?
                    {
                        return A::decode(answer).map_err(unreadable);
                    }
                    let answer = run(tx).await?;
                    let kept = KeptAnswer {
                        tenant,
                        operation: key.operation.to_owned(),
                        key: key.key,
                        request_digest: key.request,
                        answer: answer.encode_to_vec().into(),
                        at,
                    };
                    tx.keep_answer(kept).await?;
                    Ok(answer)
                })
            })
            .await
    }
}

/// The key of an operation, and what its repeats are compared by.
pub(crate) struct Keyed {
    pub operation: &'static str,
    pub key: String,
    pub request: Digest,
}

impl Keyed {
    /// By `request_id`, compared by the whole request.
    pub(crate) fn by_request_id(operation: &'static str, request_id: &str, request: &impl Message) -> Self {
        Self { operation, key: request_id.to_owned(), request: hash(&request.encode_to_vec()) }
    }
}

/// Stored bytes that are not what was stored.
pub(crate) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::new(&mesh::INTERNAL, "a stored message can't be read").caused_by(error)
}
