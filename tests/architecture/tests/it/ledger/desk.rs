//! The domains in this process, asked as the spine asks them. Every call is correlated by the name of its operation, so
//! that what it published can be told from what others did.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use contracts_common::{
    common::v1::{Actor, ActorType, CallContext, EventEnvelope, GovernanceProfile},
    contract::v1::Ledger,
};
use contracts_logs::v1 as logs;
use prost::Message;
use runspine_boot::{Deps, Running};
use runspine_rpc::{Context, Registry, Transport};
use runspine_types::{FixedClock, Micros, new_id};
use tonic::{Status, client::Grpc};
use tonic_prost::ProstCodec;

use crate::operations::DESCRIPTORS;

/// 2026-01-02T03:04:05Z.
const START: Micros = Micros(1_767_323_045_000_000);

/// Who acts where nobody else is named.
pub const ANN: &str = "ann";
/// The second person.
pub const BEA: &str = "bea";

/// The name of the witness that logs trusts.
pub const WITNESS: &str = "witness.example/w1";

pub struct Desk {
    pub clock: Arc<FixedClock>,
    pub tenant: String,
    ways: BTreeMap<String, Transport>,
    registry: Registry,
    running: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Desk {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(START));
        let deps = Deps::for_tests(folder.path()).unwrap().with_clock(clock.clone());
        let s = &deps.settings;
        let mut audit: runspine_logs::Config = s.section("logs").unwrap();
        audit.checkpoint.witness_keys = vec![super::logs::witness().1.text()];
        let services = [
            runspine_activity::service(s.section("activity").unwrap(), &deps).await.unwrap(),
            runspine_incidents::service(s.section("incidents").unwrap(), &deps).await.unwrap(),
            runspine_policies::service(s.section("policies").unwrap(), &deps).await.unwrap(),
            runspine_logs::service(audit, &deps).await.unwrap(),
            runspine_controls::service(s.section("controls").unwrap(), &deps).await.unwrap(),
        ];
        let (mut ways, mut running) = (BTreeMap::new(), Vec::new());
        for service in services {
            ways.insert(service.name.clone(), Transport::local(&service.stack));
            running.push(runspine_boot::start(vec![service], &deps).await.unwrap());
        }
        let registry = Registry::read(&DESCRIPTORS).unwrap();
        Self { clock, tenant: new_id(), ways, registry, running, _folder: folder }
    }

    pub async fn close(self) {
        for running in self.running {
            running.stop().await;
        }
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Asks for an act of `operation`, e.g. `controls.v1.FreezeService/Freeze`, which must be done.
    pub async fn act<Q, A>(&self, operation: &str, message: Q) -> A
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.act_by(ANN, operation, message).await
    }

    /// The same by somebody else.
    pub async fn act_by<Q, A>(&self, person: &str, operation: &str, message: Q) -> A
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        let answer = self.ask(&self.tenant, person, operation, message).await;
        answer.unwrap_or_else(|status| panic!("{operation}: {status:?}"))
    }

    async fn ask<Q, A>(&self, tenant: &str, person: &str, operation: &str, message: Q) -> Result<A, Status>
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        let contract = self.registry.operation(&format!("runspine.{operation}")).expect("a known operation");
        let call = CallContext {
            tenant_id: tenant.to_owned(),
            actor: Some(Actor { r#type: ActorType::Human.into(), id: person.to_owned() }),
            roles: vec!["OWNER".to_owned()],
            correlation_id: operation.to_owned(),
            profile: GovernanceProfile::Standard.into(),
            config_digest: vec![7; 32].into(),
            ..CallContext::default()
        };
        let request = Context::serving(contract, call, None).request(message).map(tokio_stream::once);
        let mut grpc = Grpc::new(self.ways[&contract.domain].clone());
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        // One message is on the wire the same for a unary call and a stream.
        let codec = ProstCodec::<Q, A>::default();
        let mut answers = grpc.streaming(request, contract.path.parse().unwrap(), codec).await?.into_inner();
        let first = answers.message().await?.unwrap_or_default();
        while answers.message().await?.is_some() {}
        Ok(first)
    }

    /// The events for the ledger that each operation published in its own commit, by its name.
    pub async fn made(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut made = BTreeMap::<String, BTreeSet<String>>::new();
        for (cause, event) in self.outboxes().await.into_iter().chain(self.own_entries().await) {
            made.entry(cause).or_default().insert(event);
        }
        made
    }

    /// What the relay would carry to the ledger.
    async fn outboxes(&self) -> Vec<(String, String)> {
        let mut events: Vec<EventEnvelope> = Vec::new();
        macro_rules! pull {
            ($($domain:literal: $contracts:ident),*) => {$(
                let pull = $contracts::v1::PullEventsRequest { consumer: "architecture".to_owned(), limit: 500 };
                let name = concat!($domain, ".v1.EventService/PullEvents");
                let pulled: $contracts::v1::PullEventsResponse =
                    self.ask(runspine_types::PLATFORM_TENANT, ANN, name, pull).await.unwrap();
                assert_eq!(pulled.head as usize, pulled.events.len(), "all of it");
                events.extend(pulled.events);
            )*};
        }
        pull!(
            "activity": contracts_activity, "controls": contracts_controls,
            "incidents": contracts_incidents, "policies": contracts_policies
        );
        let kept = |e: &EventEnvelope| {
            let contract = self.registry.event(&e.r#type).expect("an event of the catalogue");
            !matches!(contract.ledger, Ledger::None | Ledger::Unspecified)
        };
        events.into_iter().filter(kept).map(|e| (e.correlation_id, e.r#type)).collect()
    }

    /// What logs put on the ledger itself.
    async fn own_entries(&self) -> Vec<(String, String)> {
        let list = logs::ListEntriesRequest { page_size: 500, ..Default::default() };
        let listed: logs::ListEntriesResponse = self.act("logs.v1.LedgerService/ListEntries", list).await;
        assert!(listed.next_page_token.is_empty(), "all of it");
        let entries = listed.entries.into_iter().filter_map(|view| view.entry);
        entries.map(|entry| (entry.correlation_id, entry.event_type)).collect()
    }
}
