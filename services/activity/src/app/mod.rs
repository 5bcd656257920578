//! Use cases: each opens the one transaction of its call.

pub(crate) mod answers;
pub(crate) mod attempt;
pub(crate) mod cache;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod finish;
pub(crate) mod lapse;
pub(crate) mod lease;
pub(crate) mod moves;
pub(crate) mod pause;
pub(crate) mod query;
pub(crate) mod renew;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod transition;

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::common::v1::Actor;
use prost::Message;
use runspine_db::{Batcher, BoxFuture, Db, KeptAnswer, Replayed, Tx};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;
use runspine_types::{Clock, Digest, hash};

use crate::{app::cache::StateCache, app::renew::Renewals, config::Config};

/// What every use case works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Arc<Config>,
    pub(crate) renewals: Batcher<Renewals>,
    pub(crate) states: Arc<StateCache>,
}

/// For whom and by whom something is done, as far as records name it.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) tenant: String,
    pub(crate) actor: Actor,
    pub(crate) correlation_id: String,
    pub(crate) causation_id: String,
    pub(crate) config_digest: Bytes,
}

impl Who {
    pub(crate) fn of(context: &Context) -> Self {
        Self {
            tenant: context.tenant_id.clone(),
            actor: context.actor.clone().unwrap_or_default(),
            correlation_id: context.correlation_id.clone(),
            causation_id: context.causation_id.clone(),
            config_digest: context.config_digest.clone(),
        }
    }

    /// The same with the actor that the request names, if it names one.
    pub(crate) fn acting(mut self, actor: Option<&Actor>) -> Self {
        if let Some(actor) = actor {
            self.actor = actor.clone();
        }
        self
    }
}

/// A KEYED call: which one it is, and what it asks.
pub(crate) struct Keyed {
    pub(crate) operation: &'static str,
    pub(crate) key: String,
    pub(crate) digest: Digest,
}

impl Keyed {
    pub(crate) fn new(operation: &'static str, key: String, request: &impl Message) -> Self {
        Self { operation, key, digest: hash(&request.encode_to_vec()) }
    }
}

impl App {
    /// Does `body` once for a key: a repeat gets the first answer, another request under the key is refused.
    pub(crate) async fn keyed<R, F>(&self, tenant: &str, call: Keyed, body: F) -> Outcome<R>
    where
        R: Message + Default + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Outcome<R>> + Send + 'static,
    {
        let (tenant, clock) = (tenant.to_owned(), self.clock.clone());
        let write = self.db.write(call.operation, move |tx| {
            Box::pin(async move {
                let Keyed { operation, key, digest } = call;
                if let Replayed::Replay(kept) = tx.replay(&tenant, operation, &key, digest).await? {
                    return R::decode(kept).map_err(|error| {
                        Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(error)
                    });
                }
                let response = body(tx).await?;
                let answer = Bytes::from(response.encode_to_vec());
                let (operation, at) = (operation.to_owned(), clock.now());
                tx.keep_answer(KeptAnswer { tenant, operation, key, request_digest: digest, answer, at })
                    .await?;
                Ok(response)
            })
        });
        write.await
    }
}
