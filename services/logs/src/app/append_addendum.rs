//! Adds late facts to a sealed trace: a small trace of its own, opened and sealed in one commit.

use std::sync::Arc;

use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{self as pb, KeyPurpose};
use prost::Message as _;
use runspine_db::{Args, DbError, KeptAnswer, Replayed, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::{
    bytes::{encode, timestamp},
    chain, reasons,
    trace::{Item, Outcome, Stamp, Summary, TraceState},
};
use runspine_types::{Digest, Micros, hash, new_id};

use super::{
    App,
    append_records::Receipt,
    audit::told::Caused,
    events::{self, About},
    payloads::{
        denials, failures,
        offer::{Offered, still_kept},
    },
    random,
    seal_trace::{base, sign, witnessed},
};
use crate::{
    keyring::Keyring,
    rpc::receipt,
    store::{
        ledger, payloads, records,
        seals::{self, SealRow},
        traces::{self, Advance, NewTrace, TraceRef, TraceRow},
    },
};

const OPERATION: &str = "runspine.logs.v1.TraceService/AppendAddendum";

/// Late facts.
pub struct Addendum {
    /// Which trace.
    pub of: TraceRef,
    /// Key of the call.
    pub request_id: String,
    /// Digest of the call.
    pub request_digest: Digest,
    /// Why they are late.
    pub reason: String,
    /// The facts.
    pub items: Vec<Item>,
}

/// Most items of one addendum.
pub const LATE_ITEMS: usize = 1_000;

/// Late facts that come inside somebody else's transaction, which tells repeats by itself.
pub(super) struct Late<'a> {
    pub(super) call: &'a CallContext,
    pub(super) keyring: &'a Arc<Keyring>,
    pub(super) now: Micros,
}

impl Late<'_> {
    /// Appends `items` in as many addenda as they need.
    ///
    /// # Errors
    /// As [`App::append_addendum`].
    pub(super) async fn append(
        &self,
        tx: &mut Tx,
        of: &TraceRef,
        reason: &str,
        items: Vec<Item>,
        offered: Vec<Offered>,
    ) -> Result<(), Fault> {
        let mut facts = items.into_iter().zip(offered).peekable();
        while facts.peek().is_some() {
            let (items, offered): (Vec<Item>, Vec<Offered>) = facts.by_ref().take(LATE_ITEMS).unzip();
            let request_id = new_id();
            let work = Work {
                call: self.call.clone(),
                addendum: Addendum {
                    of: of.clone(),
                    request_digest: hash(request_id.as_bytes()),
                    request_id,
                    reason: reason.to_owned(),
                    items,
                },
                offered,
                keyring: Arc::clone(self.keyring),
                now: self.now,
                salt: random()?,
            };
            work.run(tx).await?;
        }
        Ok(())
    }
}

struct Work {
    call: CallContext,
    addendum: Addendum,
    offered: Vec<Offered>,
    keyring: Arc<Keyring>,
    now: Micros,
    salt: [u8; 32],
}

impl App {
    /// Appends an addendum and gives the answer as it is kept; the same request again gives the first one.
    ///
    /// # Errors
    /// TRACE_NOT_FOUND, NOT_SEALED, RECORD_TOO_LARGE, IDEMPOTENCY_MISMATCH, KEY_UNAVAILABLE, or when the store can't
    /// be written.
    pub async fn append_addendum(&self, call: &CallContext, mut addendum: Addendum) -> Result<Bytes, Fault> {
        let offered = self.offer(&addendum.of, &mut addendum.items).await?;
        let work = Work {
            call: call.clone(),
            addendum,
            offered,
            keyring: Arc::clone(&self.keyring),
            now: self.clock.now(),
            salt: random()?,
        };
        self.db.write("append_addendum", move |tx| Box::pin(work.run(tx))).await
    }
}

impl Work {
    async fn run(mut self, tx: &mut Tx) -> Result<Bytes, Fault> {
        let offered = std::mem::take(&mut self.offered);
        let Addendum { of, items, .. } = &mut self.addendum;
        self.offered = still_kept(tx, of, offered, items).await?;
        let Addendum { of, request_id, request_digest, .. } = &self.addendum;
        let replayed = tx.replay(&of.tenant_id, OPERATION, request_id, *request_digest).await?;
        if let Replayed::Replay(answer) = replayed {
            return Ok(answer);
        }
        let chain = traces::of_run_in(tx, &of.tenant_id, &of.run_id, of.attempt).await?;
        let missing = || Fault::new(&reasons::TRACE_NOT_FOUND, "there is no trace of this attempt");
        let (main, last) = chain.first().zip(chain.last()).ok_or_else(missing)?;
        let row = self.open(tx, main, last).await?;
        let (row, receipts, summary, facts) = self.fill(tx, row).await?;
        let (signed, digest) = self.seal(tx, &row, main, &summary).await?;
        self.publish(tx, &row, digest, facts).await?;
        let denied = self.offered.iter().flat_map(|offered| &offered.denied);
        let caused = Caused::by(&self.call);
        denials::tell_late(tx, of, main.trace_key, denied, &caused, self.now).await?;
        let offered = self.addendum.items.iter().zip(&self.offered);
        for (item, _) in offered.filter(|(_, offered)| offered.failed > 0) {
            failures::keep(tx, of, item.step_index, &caused, self.now).await?;
        }
        let answer = pb::AppendAddendumResponse {
            addendum: row.addendum,
            receipts: receipts.into_iter().map(receipt).collect(),
            seal: Some(signed),
        };
        let answer = Bytes::from(answer.encode_to_vec());
        let kept = KeptAnswer {
            tenant: of.tenant_id.clone(),
            operation: OPERATION.to_owned(),
            key: request_id.clone(),
            request_digest: *request_digest,
            answer: answer.clone(),
            at: self.now,
        };
        tx.keep_answer(kept).await?;
        Ok(answer)
    }

    /// Opens the trace of the addendum; its header names the seal of the trace before it.
    async fn open(&self, tx: &mut Tx, main: &TraceRow, last: &TraceRow) -> Result<TraceRow, Fault> {
        let not_sealed = || {
            let subject = format!("runs/{}/attempts/{}/trace", main.run_id, main.attempt);
            Fault::new(&reasons::NOT_SEALED, "the trace is open; append to it")
                .precondition(subject, "is sealed")
        };
        let previous = seals::find(tx, last.trace_key).await?.ok_or_else(not_sealed)?;
        let unreadable = |error: prost::DecodeError| DbError::Column {
            column: "header".to_owned(),
            what: error.to_string(),
        };
        let first = pb::TraceHeader::decode(main.header.as_ref()).map_err(unreadable)?;
        let header = pb::TraceHeader {
            trace_id: new_id(),
            started_at: Some(timestamp(self.now)),
            previous_seal_digest: Bytes::copy_from_slice(previous.seal_digest.as_bytes()),
            addendum: last.addendum + 1,
            correlation_id: self.call.correlation_id.clone(),
            ..first
        };
        let bytes = encode(&header);
        let link = chain::trace_start(&bytes);
        let new = NewTrace {
            of: self.addendum.of.clone(),
            addendum: header.addendum,
            trace_id: header.trace_id.clone(),
            project_id: header.project_id,
            agent_id: header.agent_id,
            profile: header.profile,
            source: header.source,
            scenario_id: header.synthetic_scenario_id,
            started_at: self.now,
            header: bytes,
            link,
            request_digest: self.addendum.request_digest,
        };
        let trace_key = traces::insert(tx, new).await?;
        Ok(TraceRow {
            trace_key,
            addendum: header.addendum,
            trace_id: header.trace_id,
            link,
            record_count: 0,
            last_link: link,
            last_recorded_at: self.now,
            largest_step_index: None,
            sealed: false,
            purged: false,
            ..main.clone()
        })
    }

    async fn fill(
        &self,
        tx: &mut Tx,
        mut row: TraceRow,
    ) -> Result<(TraceRow, Vec<Receipt>, Summary, Vec<pb::RecordFact>), Fault> {
        let mut state: TraceState = row.state(u64::MAX);
        let (mut rows, mut receipts, mut facts) = (Vec::<Args>::new(), Vec::new(), Vec::new());
        let mut summary = Summary::of_source(row.source);
        let (mut payloads, mut references) = (Vec::new(), Vec::new());
        for (n, item) in self.addendum.items.iter().enumerate() {
            let stamp = Stamp { now: self.now, record_id: new_id() };
            let Outcome::Appended(new) = state.append(item, stamp)? else { continue };
            summary.take(&new.record, &new.columns);
            facts.extend(events::fact(&new, 0));
            receipts.push(Receipt::new(&row.trace_id, &new));
            rows.push(records::row(row.trace_key, item, &new));
            references.extend(records::reference_row(row.trace_key, &new));
            let kept = self.offered.get(n).into_iter().flat_map(|offered| &offered.kept);
            let (of, position) = (&self.addendum.of, new.record.position);
            payloads.extend(kept.map(|kept| payloads::row(of, row.trace_key, position, kept, self.now)));
        }
        records::insert(tx, rows, references).await?;
        payloads::insert(tx, payloads).await?;
        traces::advance(tx, &[Advance { trace_key: row.trace_key, had: 0, state: &state }]).await?;
        (row.record_count, row.last_link) = (state.count, state.last_link);
        Ok((row, receipts, summary, facts))
    }

    async fn seal(
        &self,
        tx: &mut Tx,
        row: &TraceRow,
        main: &TraceRow,
        summary: &Summary,
    ) -> Result<(pb::SignedSeal, Digest), Fault> {
        let first = seals::find(tx, main.trace_key).await?.ok_or(DbError::NoRow)?;
        let first = pb::TraceSeal::decode(first.seal.as_ref())
            .map_err(|error| DbError::Column { column: "seal".to_owned(), what: error.to_string() })?;
        let signer = self.keyring.signer(KeyPurpose::Seal)?;
        let seal = pb::TraceSeal {
            run_status: first.run_status,
            termination_reason: first.termination_reason,
            ..base(row, summary, self.now, &signer.key_id)
        };
        let (signed, digest) = sign(&signer, &seal);
        let sealed = SealRow {
            trace_key: row.trace_key,
            seal: signed.seal_bytes.clone(),
            signature: signed.signature.clone(),
            seal_digest: digest,
            key_id: seal.key_id,
            sealed_at: self.now,
            request_digest: self.addendum.request_digest,
            answer: Bytes::new(),
        };
        seals::insert(tx, &sealed).await?;
        traces::mark_sealed(tx, row.trace_key).await?;
        Ok((signed, digest))
    }

    async fn publish(
        &self,
        tx: &mut Tx,
        row: &TraceRow,
        digest: Digest,
        facts: Vec<pb::RecordFact>,
    ) -> Result<(), Fault> {
        let event = pb::AddendumSealed {
            run_id: row.run_id.clone(),
            attempt: row.attempt,
            trace_id: row.trace_id.clone(),
            addendum: row.addendum,
            record_count: row.record_count,
            seal_digest: Bytes::copy_from_slice(digest.as_bytes()),
            sealed_at: Some(timestamp(self.now)),
            facts,
        };
        let about = About {
            reason: self.addendum.reason.clone(),
            ..About::call(&self.call, &self.addendum.of, &row.trace_id)
        };
        let entry = witnessed(tx, about, &event, digest, self.salt, self.now);
        ledger::append_entry(tx, entry, self.now).await?;
        Ok(())
    }
}
