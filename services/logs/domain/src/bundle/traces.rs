//! The traces of a bundle: each has a prover that runs while the file is read, and a seal that comes later.

use std::collections::{BTreeMap, HashSet};

use contracts_logs::v1::{
    BundleManifest, ContractEntry, KeyPurpose, ProofStatus, TraceHeader, TraceProof, TraceRecord, TraceSeal,
    trace_record,
};
use prost::Message as _;
use runspine_types::Digest;

use super::{decisions::Decided, line::Line, report::Findings};
use crate::{
    chain,
    contract::Contract,
    keys::{TrustedKey, seal_digest},
    proof::{KeyStanding, Previous, Prover, SealCheck, StoredRecord, TraceKey},
};

/// Attempt and addendum.
type Place = (u32, u32);

/// A chain beside the trace: its links as they were recomputed.
#[derive(Default)]
struct Chain {
    links: Vec<Digest>,
    entries: Vec<Vec<u8>>,
}

impl Chain {
    /// The link after `count` items.
    fn at(&self, count: u64) -> Option<Digest> {
        let last = usize::try_from(count.checked_sub(1)?).ok()?;
        self.links.get(last).copied()
    }
}

#[derive(Default)]
struct Seal {
    seal: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

/// What seals are held against.
#[derive(Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Keys that sign.
    pub keys: &'a [TrustedKey],
    /// Digests of seals that are under the checkpoint that the caller held before.
    pub anchored: &'a HashSet<Vec<u8>>,
}

/// Everything about the traces of one file.
pub(super) struct Traces {
    tenant_id: String,
    run_id: String,
    provers: BTreeMap<Place, Prover>,
    /// The seal digest that the header of each trace names.
    named: BTreeMap<Place, Vec<u8>>,
    seals: BTreeMap<Place, Seal>,
    contracts: BTreeMap<u32, Chain>,
    evidence: BTreeMap<u32, Chain>,
    /// Decisions on the traces, by id.
    pub(super) decided: Decided,
}

fn name(place: Place) -> String {
    match place {
        (attempt, 0) => format!("attempt {attempt}"),
        (attempt, addendum) => format!("attempt {attempt} addendum {addendum}"),
    }
}

impl Traces {
    pub(super) fn new(manifest: &BundleManifest) -> Self {
        Self {
            tenant_id: manifest.tenant_id.clone(),
            run_id: manifest.run_id.clone(),
            provers: BTreeMap::new(),
            named: BTreeMap::new(),
            seals: BTreeMap::new(),
            contracts: BTreeMap::new(),
            evidence: BTreeMap::new(),
            decided: Decided::default(),
        }
    }

    /// A line of section `trace`; false when it can't be one.
    pub(super) fn trace(&mut self, line: &Line, bytes: &[u8], found: &mut Findings) -> bool {
        let (Some(attempt), Some(addendum), Some(link)) = (line.a, line.d, line.link()) else { return false };
        let place = (attempt, addendum);
        match line.t.as_deref() {
            Some("header") => self.header(place, bytes, link, found),
            Some("record") => {
                let Some(prover) = self.provers.get_mut(&place) else { return false };
                let Ok(record) = TraceRecord::decode(bytes) else {
                    found.fail("LINK_MISMATCH", format!("{} line {} does not decode", name(place), line.n));
                    return true;
                };
                prover.record(&StoredRecord { position: record.position, bytes, link, columns: None });
                if let Some(trace_record::Body::Decision(decision)) = record.body {
                    self.decided.take(decision);
                }
                true
            }
            _ => false,
        }
    }

    fn header(&mut self, place: Place, bytes: &[u8], link: Digest, found: &mut Findings) -> bool {
        let Ok(header) = TraceHeader::decode(bytes) else { return false };
        if header.tenant_id != self.tenant_id {
            found.fail("FOREIGN_TENANT", name(place));
        }
        if header.run_id != self.run_id {
            found.fail("FOREIGN_RUN", name(place));
        }
        let key = TraceKey {
            tenant_id: self.tenant_id.clone(),
            run_id: self.run_id.clone(),
            attempt: place.0,
            addendum: place.1,
        };
        self.named.insert(place, header.previous_seal_digest.to_vec());
        // The seals come later in the file: what the header names is compared at the end.
        let previous = match Digest::from_slice(&header.previous_seal_digest) {
            Some(digest) => Previous::Seal(digest),
            None => Previous::None,
        };
        let prover = Prover::new(key, bytes, link, None, previous);
        self.provers.insert(place, prover).is_none()
    }

    /// A line of section `seal`; false when it can't be one.
    pub(super) fn seal(&mut self, line: &Line, bytes: Vec<u8>) -> bool {
        let (Some(attempt), Some(addendum), None) = (line.a, line.d, &line.l) else { return false };
        let seal = self.seals.entry((attempt, addendum)).or_default();
        let slot = match line.t.as_deref() {
            Some("seal") => &mut seal.seal,
            Some("signature") => &mut seal.signature,
            _ => return false,
        };
        slot.replace(bytes).is_none()
    }

    /// A line of section `contract`; false when it can't be one.
    pub(super) fn contract(&mut self, line: &Line, bytes: Vec<u8>, found: &mut Findings) -> bool {
        let (Some(attempt), None, Some(link), Some("entry")) =
            (line.a, line.d, line.link(), line.t.as_deref())
        else {
            return false;
        };
        let start = chain::contract_start(&self.tenant_id, "run", &self.run_id, attempt);
        let chain = self.contracts.entry(attempt).or_default();
        let computed = chain::contract_link(chain.links.last().unwrap_or(&start), &bytes);
        if computed != link {
            found.fail("CONTRACT_LINK", format!("attempt {attempt} entry {}", chain.links.len() + 1));
        }
        chain.links.push(computed);
        chain.entries.push(bytes);
        true
    }

    /// A line of section `evidence`; false when it can't be one.
    pub(super) fn evidence(&mut self, line: &Line, bytes: &[u8], found: &mut Findings) -> bool {
        let (Some(attempt), None, Some(link), Some("item")) =
            (line.a, line.d, line.link(), line.t.as_deref())
        else {
            return false;
        };
        let start = chain::evidence_start(&self.tenant_id, &self.run_id, attempt);
        let chain = self.evidence.entry(attempt).or_default();
        let computed = chain::evidence_link(chain.links.last().unwrap_or(&start), bytes);
        if computed != link {
            found.fail("EVIDENCE_LINK", format!("attempt {attempt} item {}", chain.links.len() + 1));
        }
        chain.links.push(computed);
        true
    }

    /// Ends every proof. `open`: the manifest says that the last trace has no seal yet.
    pub(super) fn finish(
        mut self,
        trust: Trust<'_>,
        open: bool,
        found: &mut Findings,
    ) -> (Vec<TraceProof>, Decided) {
        self.order(found);
        for place in self.seals.keys().filter(|place| !self.provers.contains_key(place)) {
            found.fail("SEAL_IDS", format!("{}: a seal without a trace", name(*place)));
        }
        let last = self.provers.keys().next_back().copied();
        let mut proofs = Vec::new();
        for (place, prover) in std::mem::take(&mut self.provers) {
            let proof = self.prove(place, prover, trust, found);
            let may_be_open = open && Some(place) == last;
            judge(place, &proof, may_be_open, found);
            proofs.push(proof);
        }
        (proofs, self.decided)
    }

    /// Attempts and addenda without holes; each names the seal of the one before it.
    fn order(&self, found: &mut Findings) {
        let mut before: Option<Place> = None;
        for place in self.provers.keys().copied() {
            let follows = match before {
                None => place == (1, 0),
                Some((attempt, addendum)) => place == (attempt, addendum + 1) || place == (attempt + 1, 0),
            };
            if !follows {
                found.fail("ATTEMPT_MISSING", format!("before {}", name(place)));
            }
            let expected = match place {
                (1, 0) => Some(Vec::new()),
                (attempt, 0) => self.sealed((attempt - 1, 0)),
                (attempt, addendum) => self.sealed((attempt, addendum - 1)),
            };
            if expected.is_some() && expected.as_ref() != self.named.get(&place) {
                found.fail("SEAL_CHAIN", name(place));
            }
            before = Some(place);
        }
        if before.is_none() {
            found.fail("ATTEMPT_MISSING", "there is no trace");
        }
    }

    fn sealed(&self, place: Place) -> Option<Vec<u8>> {
        let seal = self.seals.get(&place)?.seal.as_ref()?;
        Some(seal_digest(seal).to_vec())
    }

    fn prove(&self, place: Place, prover: Prover, trust: Trust<'_>, found: &mut Findings) -> TraceProof {
        let sealed = self.seals.get(&place).and_then(|s| s.seal.as_ref().zip(s.signature.as_ref()));
        let Some((bytes, signature)) = sealed else { return prover.finish(None, false) };
        let seal = TraceSeal::decode(bytes.as_slice()).unwrap_or_default();
        let key = trust.keys.iter().find(|k| k.purpose == KeyPurpose::Seal && k.key_id == seal.key_id);
        let contract = self.contracts.get(&place.0);
        if place.1 == 0 {
            self.verdict(place, &seal, contract, found);
        }
        let check = SealCheck {
            seal: bytes,
            signature,
            public_key: key.map(|key| key.public_key),
            standing: match key {
                Some(key) if key.revoked => {
                    KeyStanding::Revoked { anchored: trust.anchored.contains(seal_digest(bytes).as_bytes()) }
                }
                _ => KeyStanding::Good,
            },
            columns_agree: true,
            contract_link: contract.and_then(|chain| chain.at(seal.contract_entry_count)),
            evidence_link: self.evidence.get(&place.0).and_then(|chain| chain.at(seal.evidence_count)),
        };
        prover.finish(Some(&check), false)
    }

    /// The contract, read up to the entry that the seal names, says what the seal says, and finalizing was acknowledged.
    fn verdict(&self, place: Place, seal: &TraceSeal, contract: Option<&Chain>, found: &mut Findings) {
        let count = usize::try_from(seal.contract_entry_count).unwrap_or(usize::MAX);
        let entries = contract.map(|chain| chain.entries.as_slice()).unwrap_or_default();
        let mut folded = Contract::new("run");
        for bytes in entries.iter().take(count) {
            let entry = ContractEntry::decode(bytes.as_slice()).ok();
            if entry.is_none_or(|entry| folded.apply(&entry).is_err()) {
                found.fail("CONTRACT_LINK", format!("{} can't be read", name(place)));
                return;
            }
        }
        let told = folded.judged.last().map(|judged| judged.verdict as i32);
        let acked = folded.latest_ack("orchestrator", "finalize_run").is_some();
        if told != Some(seal.contract_status) || !acked {
            found.fail("CONTRACT_VERDICT", name(place));
        }
    }
}

/// Turns the result of one proof into a finding under its name in a bundle.
fn judge(place: Place, proof: &TraceProof, may_be_open: bool, found: &mut Findings) {
    let at = match proof.first_bad_position {
        Some(position) => format!("{} position {position}", name(place)),
        None => name(place),
    };
    match ProofStatus::try_from(proof.status) {
        Ok(ProofStatus::Verified) => {}
        Ok(ProofStatus::Unsealed) if may_be_open => found.warn("UNSEALED", at),
        Ok(ProofStatus::Unsealed) => found.fail("SEAL_MISSING", at),
        _ => found.fail(code(&proof.reason), at),
    }
}

fn code(reason: &str) -> &'static str {
    match reason {
        "LINK" | "UNDECODABLE" | "HEADER_LINK" => "LINK_MISMATCH",
        "POSITION_GAP" => "POSITION_GAP",
        "POSITION_ORDER" | "POSITION" => "POSITION_ORDER",
        "SEAL_COUNT" => "SEAL_COUNT",
        "EXTRA_RECORDS" => "EXTRA_RECORDS",
        "SEAL_LINK" => "SEAL_LINK",
        "HEADER_IDS" => "HEADER_IDS",
        "SEAL_IDS" | "SEAL_UNDECODABLE" => "SEAL_IDS",
        "UNKNOWN_KEY" => "UNKNOWN_KEY",
        "BAD_SIGNATURE" => "BAD_SIGNATURE",
        "REVOKED_KEY" => "REVOKED_KEY",
        "CONTRACT_LINK" => "CONTRACT_LINK",
        "EVIDENCE_LINK" => "EVIDENCE_LINK",
        "ATTEMPT_MISSING" => "ATTEMPT_MISSING",
        "BEHAVIOUR" => "BEHAVIOUR",
        "SEAL_TOTALS" => "SEAL_TOTALS",
        _ => "SEAL_CHAIN",
    }
}
