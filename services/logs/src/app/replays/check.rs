//! Takes the steps of a replay, one after the other.

use std::sync::Arc;

use bytes::Bytes;
use contracts_logs::v1::{
    CheckReplayStepsResponse, ReplayBehaviour, ReplayCheck, ReplayKeyState, ReplayLevel, ReplayMatch,
    ReplayVerdict, ReplayedStep, StartReplayRequest,
};
use prost::Message as _;
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_logs_domain::{
    chain::{parameters_digest, payload_digest},
    replay::{Held, Judged, Plan, Recorded, Recording, default_key, judge},
};
use runspine_redact::{Constraints, Keep, Kept};
use runspine_types::{Digest, Micros};

use super::{closed, missing, view::ordered};
use crate::{
    app::App,
    store::{
        payloads,
        replays::{self, KeyState, ReplayRow},
        traces,
    },
};

/// A replay that takes steps: what it compares with, read once.
pub struct Checker {
    app: Arc<App>,
    row: ReplayRow,
    order: StartReplayRequest,
    plan: Plan,
    recording: Recording,
    /// What the recorded texts were redacted by.
    keep: Keep,
}

impl Checker {
    /// Opens a replay for steps.
    ///
    /// # Errors
    /// REPLAY_NOT_FOUND, REPLAY_CLOSED, or when the store can't be read.
    pub async fn open(app: &Arc<App>, tenant: &str, replay_id: &str) -> Result<Self, Fault> {
        let read = app.db.read();
        let row = replays::find(read, tenant, replay_id).await?.ok_or_else(missing)?;
        if row.finished.is_some() {
            return Err(closed(replay_id));
        }
        let order = ordered(&row)?;
        let header = traces::header(read, tenant, &row.run_id, row.attempt).await?;
        let constraints = Constraints::of(header.map(|header| header.inspection_allowed));
        Ok(Self {
            app: Arc::clone(app),
            plan: Plan::of(&order.rules),
            recording: app.recording(row.trace_key).await?,
            keep: Keep::from(constraints),
            order,
            row,
        })
    }

    /// The replay.
    #[must_use]
    pub fn replay_id(&self) -> &str {
        &self.row.replay_id
    }

    /// Whether no more steps are to be taken after this answer.
    #[must_use]
    pub fn ends_with(&self, answer: &CheckReplayStepsResponse) -> bool {
        self.order.stop_on_mismatch && answer.verdict() == ReplayVerdict::Mismatch
    }

    /// Judges a step against the record, notes it, and says what became of it.
    ///
    /// # Errors
    /// REPLAY_CLOSED, or when the store can't be read or written.
    pub async fn check(&self, mut step: ReplayedStep) -> Result<CheckReplayStepsResponse, Fault> {
        let recorded = self.recording.get(step.step_index);
        let kind = recorded.map_or(step.kind, |recorded| recorded.step.kind);
        let behaviour = self.plan.behaviour(step.step_index, kind);
        let held = self.held(&mut step, recorded, behaviour).await?;
        if !self.order.driven_run_id.is_empty() {
            // What a run says of itself counts for nothing beside its trace.
            step.decisions =
                self.app.decided(&self.row.tenant_id, &self.order.driven_run_id, step.step_index).await?;
        }
        let judged = judge(self.order.level(), behaviour, recorded, &step, &held);
        if step.replay_key.is_empty() {
            let of = (self.row.run_id.as_str(), self.row.attempt);
            step.replay_key = default_key(of, step.step_index, &step.input_digest).to_hex();
        }
        let skipped = recorded.filter(|_| judged.verdict == ReplayVerdict::Skipped);
        let mut answer = CheckReplayStepsResponse {
            step_index: step.step_index,
            verdict: judged.verdict.into(),
            r#match: judged.matched.into(),
            key_state: ReplayKeyState::Unspecified.into(),
            output_ref: skipped.map(|recorded| recorded.step.output_ref.clone()).unwrap_or_default(),
            reasons: judged.reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        };
        let state = self.note(step, &judged, recorded).await?;
        if state == KeyState::Conflict {
            answer.set_verdict(ReplayVerdict::Conflict);
            answer.set_match(ReplayMatch::Unspecified);
            (answer.output_ref, answer.reasons) = (Bytes::new(), vec!["KEY".to_owned()]);
        }
        answer.set_key_state(match state {
            KeyState::New => ReplayKeyState::New,
            KeyState::Duplicate => ReplayKeyState::Duplicate,
            KeyState::Conflict => ReplayKeyState::Conflict,
        });
        Ok(answer)
    }

    /// Replaces the texts of a step by their digests, and says what there is to compare with.
    async fn held(
        &self,
        step: &mut ReplayedStep,
        recorded: Option<&Recorded>,
        behaviour: ReplayBehaviour,
    ) -> Result<Held, Fault> {
        let read = self.app.db.read();
        let texts = [&mut step.input, &mut step.output, &mut step.parameters_json];
        let [input, output, parameters] = texts.map(std::mem::take);
        let mut held = Held::default();
        if !(input.is_empty() && output.is_empty() && parameters.is_empty()) {
            let secrets = payloads::secrets(read, &self.row.tenant_id, &self.row.run_id).await?;
            let (salt, key) = secrets.map_or((None, None), |found| (found.digest_salt, found.parameter_key));
            let digests = [
                (&input, &mut step.input_digest, salt.as_ref(), payload_digest as fn(&[u8], &[u8]) -> Digest),
                (&output, &mut step.output_digest, salt.as_ref(), payload_digest),
                (&parameters, &mut step.parameters_digest, key.as_ref(), parameters_digest),
            ];
            for (text, digest, secret, of) in digests.into_iter().filter(|(text, ..)| !text.is_empty()) {
                match secret {
                    Some(secret) => *digest = Bytes::copy_from_slice(of(secret, text).as_bytes()),
                    // Without the secret no digest can be made that could equal the recorded one.
                    None => held.erased = true,
                }
            }
        }
        let Some(recorded) = recorded else { return Ok(held) };
        if behaviour != ReplayBehaviour::Execute {
            for reference in [&recorded.step.input_ref, &recorded.step.output_ref] {
                held.erased |= self.erased(reference).await?;
            }
        }
        let compares = self.order.level() == ReplayLevel::Semantic && behaviour == ReplayBehaviour::Check;
        if compares && !held.erased && !output.is_empty() {
            held.replayed = match runspine_redact::payload(&output, self.keep) {
                Ok(Kept::Bytes(text, _)) => Some(text),
                // What would not have been stored has no stored text to be like.
                Ok(Kept::Nothing) | Err(_) => None,
            };
            if let Some(reference) = Digest::from_slice(&recorded.step.output_ref) {
                let stored = self.app.get_payload(&self.row.tenant_id, reference).await?;
                held.recorded = Some(stored.content.to_vec());
            }
        }
        Ok(held)
    }

    async fn erased(&self, reference: &Bytes) -> Result<bool, Fault> {
        let Some(reference) = Digest::from_slice(reference) else { return Ok(false) };
        let row = payloads::find(self.app.db.read(), &self.row.tenant_id, reference).await?;
        Ok(row.is_none_or(|row| row.ciphertext.is_none()))
    }

    /// Notes a step, unless its key stands for another input.
    async fn note(
        &self,
        step: ReplayedStep,
        judged: &Judged,
        recorded: Option<&Recorded>,
    ) -> Result<KeyState, Fault> {
        let now = self.app.clock.now();
        let kept = self.app.replay;
        let seconds = if judged.failed() { kept.failed_key_s } else { kept.key_h.saturating_mul(3_600) };
        let note = Note {
            tenant_id: self.row.tenant_id.clone(),
            replay_id: self.row.replay_id.clone(),
            now,
            until: now.plus_millis(i64::from(seconds) * 1_000),
            check: ReplayCheck {
                verdict: judged.verdict.into(),
                r#match: judged.matched.into(),
                reasons: judged.reasons.iter().map(|reason| (*reason).to_owned()).collect(),
                recorded_output_digest: recorded.map(|r| r.step.output_digest.clone()).unwrap_or_default(),
                step: Some(step),
            },
        };
        self.app.db.write("check_replay_step", move |tx| Box::pin(note.run(tx))).await
    }
}

/// What is to be noted of a step.
struct Note {
    tenant_id: String,
    replay_id: String,
    now: Micros,
    until: Micros,
    check: ReplayCheck,
}

impl Note {
    async fn run(self, tx: &mut Tx) -> Result<KeyState, Fault> {
        if !replays::is_open(tx, &self.tenant_id, &self.replay_id, self.now).await? {
            return Err(closed(&self.replay_id));
        }
        let step = self.check.step.clone().unwrap_or_default();
        let key = (step.replay_key.as_str(), &step.input_digest);
        let state = replays::take_key(tx, &self.tenant_id, key, (self.now, self.until)).await?;
        if state != KeyState::Conflict {
            let of = (self.replay_id.as_str(), step.step_index);
            replays::note(tx, of, self.check.encode_to_vec(), self.now).await?;
        }
        Ok(state)
    }
}
