//! The proof of one trace: recomputes every link, column, seal and signature in one pass over its records.
//!
//! The server runs it over its rows, `verify_bundle` over the lines of a file.

use bytes::Bytes;
use contracts_logs::v1::{ProofFinding, ProofStatus, TraceHeader, TraceProof, TraceRecord, TraceSeal};
use prost::Message as _;
use runspine_types::{Digest, Micros};

use crate::{
    bytes::micros,
    chain,
    keys::{Signed, key_id, seal_digest, verify},
    trace::{Columns, MAX_AHEAD_US, Summary},
};

/// Names a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceKey {
    /// The tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// 0 for the main trace.
    pub addendum: u32,
}

/// The columns of a trace's row that must equal its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderColumns {
    /// The trace.
    pub trace_id: String,
    /// The project.
    pub project_id: String,
    /// The agent.
    pub agent_id: String,
    /// Profile of the run.
    pub profile: i32,
    /// Where the run comes from.
    pub source: i32,
    /// The scenario of a synthetic run.
    pub scenario_id: String,
    /// When it was started.
    pub started_at: Micros,
}

impl HeaderColumns {
    fn of(header: &TraceHeader) -> Self {
        Self {
            trace_id: header.trace_id.clone(),
            project_id: header.project_id.clone(),
            agent_id: header.agent_id.clone(),
            profile: header.profile,
            source: header.source,
            scenario_id: header.synthetic_scenario_id.clone(),
            started_at: micros(header.started_at.as_ref()),
        }
    }
}

/// One record as it is stored.
#[derive(Debug, Clone)]
pub struct StoredRecord<'a> {
    /// The place that its row names.
    pub position: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Its stored link.
    pub link: Digest,
    /// Its query columns, where there are any.
    pub columns: Option<Columns<'a>>,
}

/// What a trace's header has to name as the seal before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// Nothing: the first attempt's main trace.
    None,
    /// The seal of the trace before.
    Seal(Digest),
    /// The trace before is missing or has no seal.
    Missing,
}

/// What a signature by a key is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// It counts, whether the key is active or another took its place.
    Good,
    /// The key was revoked. The time in a seal is no witness: whoever has the key can write any. What counts is whether
    /// the seal is under a checkpoint that left the house before.
    Revoked {
        /// Whether it is.
        anchored: bool,
    },
}

/// A seal with everything that it has to agree with.
#[derive(Debug, Clone)]
pub struct SealCheck<'a> {
    /// The seal's bytes.
    pub seal: &'a [u8],
    /// Its signature.
    pub signature: &'a [u8],
    /// The public key that the seal names; `None` when nobody knows it.
    pub public_key: Option<[u8; 32]>,
    /// What the key is worth.
    pub standing: KeyStanding,
    /// Whether what stands beside the seal's bytes says what they say.
    pub columns_agree: bool,
    /// The contract's chain, recomputed up to the entry that the seal names; `None` when there are fewer.
    pub contract_link: Option<Digest>,
    /// The evidence chain, recomputed up to the item that the seal names; `None` when there are fewer.
    pub evidence_link: Option<Digest>,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bad {
    status: ProofStatus,
    reason: &'static str,
    position: Option<u64>,
}

const fn bad(status: ProofStatus, reason: &'static str, position: Option<u64>) -> Bad {
    Bad { status, reason, position }
}

/// Reads a trace once, in the order of positions, and says whether it is what was sealed.
pub struct Prover {
    key: TraceKey,
    trace_id: String,
    last_link: Digest,
    rows: u64,
    last_position: u64,
    summary: Summary,
    skewed: (u64, u64),
    bad: Option<Bad>,
    previous: Option<Bad>,
}

impl Prover {
    /// Begins with the header. `stored_link` and `columns` are what stands beside it.
    #[must_use]
    pub fn new(
        key: TraceKey,
        header: &[u8],
        stored_link: Digest,
        columns: Option<&HeaderColumns>,
        previous: Previous,
    ) -> Self {
        let last_link = chain::trace_start(header);
        let mut prover = Self {
            key,
            trace_id: String::new(),
            last_link,
            rows: 0,
            last_position: 0,
            summary: Summary::new(),
            skewed: (0, 0),
            bad: None,
            previous: None,
        };
        prover.bad = prover.header(header, stored_link, columns, previous).err();
        prover
    }

    fn header(
        &mut self,
        bytes: &[u8],
        stored_link: Digest,
        columns: Option<&HeaderColumns>,
        previous: Previous,
    ) -> Result<(), Bad> {
        let mismatch = |reason| Err(bad(ProofStatus::Mismatch, reason, Some(0)));
        if stored_link != self.last_link {
            return mismatch("HEADER_LINK");
        }
        let header =
            TraceHeader::decode(bytes).map_err(|_| bad(ProofStatus::Error, "UNDECODABLE", Some(0)))?;
        self.trace_id.clone_from(&header.trace_id);
        self.summary = Summary::of_source(header.source);
        let key = &self.key;
        let ids = header.tenant_id == key.tenant_id && header.run_id == key.run_id;
        if !ids || header.attempt != key.attempt || header.addendum != key.addendum {
            return mismatch("HEADER_IDS");
        }
        if columns.is_some_and(|c| *c != HeaderColumns::of(&header)) {
            return mismatch("COLUMN");
        }
        let named = header.previous_seal_digest.as_ref();
        self.previous = match previous {
            Previous::None if named.is_empty() => None,
            Previous::Seal(digest) if digest.as_bytes() == named => None,
            Previous::Missing => Some(bad(ProofStatus::Incomplete, "ATTEMPT_MISSING", None)),
            Previous::None | Previous::Seal(_) => Some(bad(ProofStatus::Mismatch, "SEAL_CHAIN", None)),
        };
        Ok(())
    }

    /// Takes the next record.
    pub fn record(&mut self, row: &StoredRecord<'_>) {
        self.rows += 1;
        self.last_position = row.position;
        match self.bad {
            None => self.bad = self.check(row).err(),
            // What seemed to be missing comes later: nothing was taken away, it was moved.
            Some(Bad { reason: "POSITION_GAP", position, .. }) if position == Some(row.position) => {
                self.bad = Some(bad(ProofStatus::Mismatch, "POSITION_ORDER", position));
            }
            Some(_) => {}
        }
    }

    fn check(&mut self, row: &StoredRecord<'_>) -> Result<(), Bad> {
        let place = self.rows;
        let mismatch = |reason| Err(bad(ProofStatus::Mismatch, reason, Some(place)));
        if row.position > place {
            return Err(bad(ProofStatus::Incomplete, "POSITION_GAP", Some(place)));
        }
        if row.position < place {
            return mismatch("POSITION_ORDER");
        }
        self.last_link = chain::trace_link(&self.last_link, row.bytes);
        if self.last_link != row.link {
            return mismatch("LINK");
        }
        let undecodable = bad(ProofStatus::Error, "UNDECODABLE", Some(place));
        let record = TraceRecord::decode(row.bytes).map_err(|_| undecodable)?;
        let columns = Columns::of(&record).ok_or(undecodable)?;
        if record.position != place {
            return mismatch("POSITION");
        }
        if row.columns.as_ref().is_some_and(|stored| *stored != columns) {
            return mismatch("COLUMN");
        }
        if columns.occurred_at.0.saturating_sub(columns.recorded_at.0) > MAX_AHEAD_US {
            self.skewed = (if self.skewed.1 == 0 { place } else { self.skewed.0 }, self.skewed.1 + 1);
        }
        self.summary.take(&record, &columns);
        Ok(())
    }

    /// Records that were read.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The position that the row of the last record names: where to read on.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.last_position
    }

    /// A source could not be read: nothing is proved.
    pub fn unreadable(&mut self) {
        self.bad = Some(bad(ProofStatus::Error, "SOURCE_UNREADABLE", None));
    }

    /// Ends with the seal, or without one. `salt_erased`: digests can't be matched to any text again.
    #[must_use]
    pub fn finish(self, seal: Option<&SealCheck<'_>>, salt_erased: bool) -> TraceProof {
        let decoded = seal.and_then(|s| TraceSeal::decode(s.seal).ok());
        let verdict = self.bad.map_or_else(|| self.sealed(seal, decoded.as_ref()), Err);
        let mut findings = self.summary.findings();
        let mut add =
            |code: &str, at, count| findings.push(ProofFinding { code: code.to_owned(), at, count });
        if self.skewed.1 > 0 {
            add("CLOCK_SKEW", self.skewed.0, self.skewed.1);
        }
        if salt_erased {
            add("SALT_ERASED", 0, 1);
        }
        let (status, reason, first_bad_position) = match verdict {
            Ok(status) => (status, "", None),
            Err(bad) => (bad.status, bad.reason, bad.position),
        };
        TraceProof {
            attempt: self.key.attempt,
            addendum: self.key.addendum,
            status: status as i32,
            reason: reason.to_owned(),
            first_bad_position,
            record_count: self.rows,
            last_link: raw(self.last_link),
            seal_digest: seal.map(|s| raw(seal_digest(s.seal))).unwrap_or_default(),
            key_id: decoded.as_ref().map(|s| s.key_id.clone()).unwrap_or_default(),
            sealed_at: decoded.and_then(|s| s.sealed_at),
            behaviour_signature: raw(self.summary.behaviour.signature()),
            findings,
            trace_id: self.trace_id,
        }
    }

    fn sealed(&self, check: Option<&SealCheck<'_>>, seal: Option<&TraceSeal>) -> Result<ProofStatus, Bad> {
        let mismatch = |reason| Err(bad(ProofStatus::Mismatch, reason, None));
        let Some(check) = check else {
            return self.previous.map_or(Ok(ProofStatus::Unsealed), Err);
        };
        // Undecodable bytes under a good signature prove a defect; under a bad one, that they were changed.
        let Some(seal) = seal else { return mismatch("SEAL_UNDECODABLE") };
        if self.rows < seal.record_count {
            return Err(bad(ProofStatus::Incomplete, "SEAL_COUNT", Some(self.rows + 1)));
        }
        if self.rows > seal.record_count {
            return Err(bad(ProofStatus::Mismatch, "EXTRA_RECORDS", Some(seal.record_count + 1)));
        }
        if seal.last_link != self.last_link.as_bytes() {
            return mismatch("SEAL_LINK");
        }
        self.signature(check, seal)?;
        if !check.columns_agree {
            return mismatch("SEAL_COLUMN");
        }
        self.sums(seal)?;
        if seal.addendum == 0 && !agrees(seal.contract_entry_count, &seal.contract_link, check.contract_link)
        {
            return mismatch("CONTRACT_LINK");
        }
        if !agrees(seal.evidence_count, &seal.evidence_link, check.evidence_link) {
            return mismatch("EVIDENCE_LINK");
        }
        self.previous.map_or(Ok(ProofStatus::Verified), Err)
    }

    fn signature(&self, check: &SealCheck<'_>, seal: &TraceSeal) -> Result<(), Bad> {
        let mismatch = |reason| Err(bad(ProofStatus::Mismatch, reason, None));
        let key = &self.key;
        let ids =
            seal.tenant_id == key.tenant_id && seal.run_id == key.run_id && seal.trace_id == self.trace_id;
        if !ids || seal.attempt != key.attempt || seal.addendum != key.addendum {
            return mismatch("SEAL_IDS");
        }
        let Some(public) = check.public_key.filter(|public| key_id(public) == seal.key_id) else {
            return mismatch("UNKNOWN_KEY");
        };
        if !verify(&public, Signed::Seal, check.seal, check.signature) {
            return mismatch("BAD_SIGNATURE");
        }
        if check.standing == (KeyStanding::Revoked { anchored: false }) {
            return mismatch("REVOKED_KEY");
        }
        Ok(())
    }

    /// What the seal says of the records has to follow from them.
    fn sums(&self, seal: &TraceSeal) -> Result<(), Bad> {
        let totals = &self.summary.totals;
        if seal.behaviour_signature != self.summary.behaviour.signature().as_bytes() {
            return Err(bad(ProofStatus::Mismatch, "BEHAVIOUR", None));
        }
        let told =
            (seal.step_count, seal.decision_count, seal.input_tokens, seal.output_tokens, seal.cost_microusd);
        let found = (
            totals.steps(),
            totals.decisions,
            totals.input_tokens,
            totals.output_tokens,
            totals.cost_microusd,
        );
        if told == found { Ok(()) } else { Err(bad(ProofStatus::Mismatch, "SEAL_TOTALS", None)) }
    }
}

/// A chain that the seal names at a count: the link has to be the one recomputed there.
fn agrees(count: u64, link: &Bytes, recomputed: Option<Digest>) -> bool {
    if count == 0 && link.is_empty() {
        return true;
    }
    recomputed.is_some_and(|digest| digest.as_bytes() == link.as_ref())
}

fn raw(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// The status of a run over the proofs of its traces: the worst that is present.
#[must_use]
pub fn overall(proofs: &[TraceProof]) -> ProofStatus {
    const WORST_FIRST: [ProofStatus; 6] = [
        ProofStatus::Mismatch,
        ProofStatus::Incomplete,
        ProofStatus::Error,
        ProofStatus::NoTrace,
        ProofStatus::Unsealed,
        ProofStatus::Verified,
    ];
    let present = |status: &ProofStatus| proofs.iter().any(|p| p.status == *status as i32);
    WORST_FIRST.into_iter().find(present).unwrap_or(ProofStatus::NoTrace)
}
