//! Proves the traces of a run over the store, page by page.

use std::time::Instant;

use bytes::Bytes;
use contracts_logs::v1 as pb;
use prost::Message as _;
use runspine_db::{DbError, Dialect};
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::{micros, timestamp},
    chain,
    keys::seal_digest,
    proof::{HeaderColumns, KeyStanding, Previous, Prover, SealCheck, TraceKey, overall},
};
use runspine_types::{Digest, Micros};

use super::{
    App,
    read_traces::TraceView,
    spans::{is_observed, root_missing},
};
use crate::{
    metrics,
    store::{chains, keys, observed, records, seals::SealRow, secrets, traces},
};

/// Records that one read proves. Between reads others get their turn, and what was deleted can be cleaned up.
const PAGE: i64 = 20_000;

impl App {
    /// Proves one attempt of a run, or with 0 all of them. A source that can't be read gives ERROR for its trace: a
    /// failed read proves nothing.
    ///
    /// # Errors
    /// When not even the list of traces can be read.
    pub async fn verify_trace(
        &self,
        tenant_id: &str,
        run_id: &str,
        attempt: u32,
    ) -> Result<pb::VerifyTraceResponse, Fault> {
        let begun = Instant::now();
        // The attempt before is read too: the header of an attempt names its seal.
        let rows = traces::of_run(self.db.read(), tenant_id, run_id, 0).await?;
        let views = self.with_seals(rows).await?;
        let keys = keys::all(self.db.read()).await?;
        let erased = secrets::salt_erased(self.db.read(), tenant_id, run_id).await?;
        let mut proofs = Vec::new();
        for view in views.iter().filter(|view| attempt == 0 || view.row.attempt == attempt) {
            let proof = match &view.purge {
                Some(purge) => self.prove_by_bundle(view, purge).await?,
                None => {
                    let mut proof = self.prove(view, previous(&views, view), &keys, erased).await;
                    if view.seal.is_some() && is_observed(view.row.source) {
                        let rooted = observed::was_rooted(self.db.read(), view.row.trace_key).await?;
                        proof.findings.extend(root_missing(&view.row, rooted));
                    }
                    proof
                }
            };
            proofs.push(proof);
        }
        if proofs.is_empty() {
            let status = pb::ProofStatus::NoTrace as i32;
            proofs.push(pb::TraceProof {
                attempt,
                status,
                reason: "NO_TRACE".to_owned(),
                ..Default::default()
            });
        }
        let storage = match self.db.dialect() {
            Dialect::Sqlite => pb::ProofStorage::Sqlite,
            Dialect::Postgres => pb::ProofStorage::Postgres,
        };
        let boundary = self.boundary(&views).await?;
        for proof in &proofs {
            let status = proof.status().as_str_name().trim_start_matches("PROOF_STATUS_");
            metrics::PROOFS.increment(&[("status", status)]);
        }
        metrics::PROOF.since(begun, &[]);
        Ok(pb::VerifyTraceResponse {
            run_id: run_id.to_owned(),
            overall: overall(&proofs) as i32,
            model: pb::ProofModel::HashChain as i32,
            storage: storage as i32,
            trust_boundary: boundary as i32,
            proofs,
            verified_at: Some(timestamp(self.clock.now())),
            duration_us: i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX),
        })
    }

    async fn prove(
        &self,
        view: &TraceView,
        previous: Previous,
        known: &[keys::KeyRow],
        erased: bool,
    ) -> pb::TraceProof {
        let row = &view.row;
        let key = TraceKey {
            tenant_id: row.tenant_id.clone(),
            run_id: row.run_id.clone(),
            attempt: row.attempt,
            addendum: row.addendum,
        };
        let columns = HeaderColumns {
            trace_id: row.trace_id.clone(),
            project_id: row.project_id.clone(),
            agent_id: row.agent_id.clone(),
            profile: row.profile,
            source: row.source,
            scenario_id: row.scenario_id.clone(),
            started_at: row.started_at,
        };
        let begin = || Prover::new(key.clone(), &row.header, row.link, Some(&columns), previous);
        let (mut prover, contract, evidence) = match self.read_sources(view, begin()).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(run_id = row.run_id, %error, "a source of the proof can't be read");
                let mut prover = begin();
                prover.unreadable();
                (prover, None, None)
            }
        };
        let Some(seal) = &view.seal else { return prover.finish(None, erased) };
        let key =
            known.iter().find(|key| key.key_id == seal.key_id && key.purpose == pb::KeyPurpose::Seal as i32);
        let standing = match key.and_then(|key| key.revoked_from) {
            None => KeyStanding::Good,
            Some(from) => match self.anchored(view, from).await {
                Ok(anchored) => KeyStanding::Revoked { anchored },
                Err(fault) => {
                    tracing::warn!(run_id = row.run_id, %fault, "the checkpoints of the proof can't be read");
                    prover.unreadable();
                    KeyStanding::Good
                }
            },
        };
        let check = SealCheck {
            seal: &seal.seal,
            signature: &seal.signature,
            public_key: key.and_then(|key| key.public_key.as_slice().try_into().ok()),
            standing,
            columns_agree: columns_agree(seal),
            contract_link: contract,
            evidence_link: evidence,
        };
        prover.finish(Some(&check), erased)
    }

    /// Whether the seal of a trace was under a checkpoint that left the house before `before`. The digest is that of the
    /// stored bytes: a column proves nothing.
    async fn anchored(&self, view: &TraceView, before: Micros) -> Result<bool, Fault> {
        let Some(seal) = &view.seal else { return Ok(false) };
        let of = (view.row.tenant_id.as_str(), view.row.run_id.as_str());
        self.notary.anchored(of, seal_digest(&seal.seal), before).await
    }

    /// EXTERNAL when somebody outside has what shows that the newest seal was there.
    async fn boundary(&self, views: &[TraceView]) -> Result<pb::TrustBoundary, Fault> {
        let Some(newest) = views.iter().rev().find(|view| view.seal.is_some()) else {
            return Ok(pb::TrustBoundary::System);
        };
        let outside = self.anchored(newest, Micros(i64::MAX)).await?;
        Ok(if outside { pb::TrustBoundary::External } else { pb::TrustBoundary::System })
    }

    /// Feeds the records, and recomputes the chains that the seal names.
    async fn read_sources(
        &self,
        view: &TraceView,
        mut prover: Prover,
    ) -> Result<(Prover, Option<Digest>, Option<Digest>), DbError> {
        loop {
            let (before, last) = (prover.rows(), prover.last_position());
            let page = (view.row.trace_key, last, PAGE);
            prover = records::fold(self.db.read(), page, prover, Prover::record).await?;
            if prover.rows() == before {
                break;
            }
        }
        let seal = view.seal.as_ref().and_then(|s| pb::TraceSeal::decode(s.seal.as_ref()).ok());
        let Some(seal) = seal.filter(|seal| seal.addendum == 0) else { return Ok((prover, None, None)) };
        let row = &view.row;
        let of = (row.tenant_id.as_str(), row.run_id.as_str(), row.attempt);
        let entries = chains::contract(self.db.read(), of, seal.contract_entry_count).await?;
        let start = chain::contract_start(of.0, "run", of.1, of.2);
        let contract = fold(start, &entries, seal.contract_entry_count, chain::contract_link);
        let items = chains::evidence(self.db.read(), of, seal.evidence_count).await?;
        let start = chain::evidence_start(of.0, of.1, of.2);
        let evidence = fold(start, &items, seal.evidence_count, chain::evidence_link);
        Ok((prover, contract, evidence))
    }
}

/// The link after `count` items, recomputed; `None` when there are fewer, or a stored link is another.
fn fold(
    start: Digest,
    items: &[(Bytes, Digest)],
    count: u64,
    link: fn(&Digest, &[u8]) -> Digest,
) -> Option<Digest> {
    if items.len() as u64 != count {
        return None;
    }
    items
        .iter()
        .try_fold(start, |last, (item, stored)| Some(link(&last, item)).filter(|found| found == stored))
}

/// Whether what stands beside a seal says what its bytes say.
fn columns_agree(row: &SealRow) -> bool {
    pb::TraceSeal::decode(row.seal.as_ref()).is_ok_and(|seal| {
        row.seal_digest == seal_digest(&row.seal)
            && row.sealed_at == micros(seal.sealed_at.as_ref())
            && row.key_id == seal.key_id
    })
}

/// The seal that the header of `view` has to name.
fn previous(views: &[TraceView], view: &TraceView) -> Previous {
    let (attempt, addendum) = (view.row.attempt, view.row.addendum);
    let before = match (attempt, addendum) {
        (_, 1..) => (attempt, addendum - 1),
        (2.., 0) => (attempt - 1, 0),
        _ => return Previous::None,
    };
    let found = views.iter().find(|v| (v.row.attempt, v.row.addendum) == before);
    // The digest is that of the stored seal bytes, not the stored digest: a column proves nothing.
    match found.and_then(|v| v.seal.as_ref()) {
        Some(seal) => Previous::Seal(seal_digest(&seal.seal)),
        None => Previous::Missing,
    }
}
