//! The admission that AdmitRun would give: it is given, read, and undone.

use std::{collections::BTreeSet, sync::Arc};

use contracts_controls::v1 as pb;
use runspine_controls_domain::{guardrail::Defaults, limit::RunScope, words::Category};
use runspine_db::{DbError, Tx};
use runspine_errors::{Fault, mesh};
use runspine_types::Micros;

use super::{
    App,
    accounts::{Ask, Call, Out},
    defect,
};
use crate::store::{caches::Caches, desk::Desk, envelopes::Applicable, locks::Locking};

/// Why the trial is undone: it has its answer, or it failed.
enum Undone {
    Answered(Box<pb::SimulateAdmissionResponse>),
    Failed(Fault),
}

impl From<DbError> for Undone {
    fn from(error: DbError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Fault> for Undone {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl App {
    /// Answers as AdmitRun would, and leaves nothing behind.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn simulate(&self, ask: Ask) -> Result<pb::SimulateAdmissionResponse, Fault> {
        let ask = Arc::new(ask);
        match self.tried(Call::Ask(Arc::clone(&ask))).await {
            Err(fault) if fault.is(&mesh::INTERNAL) => self.tried(Call::Undecided(ask)).await,
            answer => answer,
        }
    }

    async fn tried(&self, call: Call) -> Result<pb::SimulateAdmissionResponse, Fault> {
        let (now, guardrails) = (self.clock.now(), self.guardrails);
        self.db
            .write("simulate_admission", move |tx| {
                Box::pin(async move {
                    let tried: Result<(), Undone> = tx
                        .nested(move |tx| {
                            Box::pin(async move { Err(attempt(tx, call, guardrails, now).await) })
                        })
                        .await;
                    match tried {
                        Err(Undone::Answered(response)) => Ok(*response),
                        Err(Undone::Failed(fault)) => Err(fault),
                        Ok(()) => Err(defect("a simulation was kept")),
                    }
                })
            })
            .await
    }
}

async fn attempt(tx: &mut Tx, call: Call, guardrails: Option<Defaults>, now: Micros) -> Undone {
    match answer(tx, call, guardrails, now).await {
        Ok(response) => Undone::Answered(Box::new(response)),
        Err(fault) => Undone::Failed(fault),
    }
}

async fn answer(
    tx: &mut Tx,
    call: Call,
    guardrails: Option<Defaults>,
    now: Micros,
) -> Result<pb::SimulateAdmissionResponse, Fault> {
    let (ask, decides) = match &call {
        Call::Ask(ask) => (Arc::clone(ask), true),
        Call::Undecided(ask) => (Arc::clone(ask), false),
        _ => return Err(defect("only a question is simulated")),
    };
    let caches = Caches::guarding(guardrails);
    let at = ask.now.unwrap_or(now);
    let tenants = [ask.caller.tenant_id.as_str()];
    let tenants = if decides { &tenants[..] } else { &[] };
    let mut desk = Desk::open(tx, &caches, tenants, Locking::Nothing, at).await?;
    desk.prepare(&[call], &BTreeSet::new(), at).await?;
    let lease = desk.run(&ask.run).cloned().ok_or_else(|| defect("a run was not made"))?;
    let (headroom, out) = if decides {
        let (scope, _) = ask.counted(&lease)?;
        (headroom(&mut desk, &scope, at).await?, desk.answer(&ask, at).await?)
    } else {
        (Vec::new(), desk.answer_undecided(&ask, at).await?)
    };
    let Out::Run(response) = out else {
        return Err(defect("the answer is of another call"));
    };
    // There is no row of evidence: nothing of this stays.
    let admission = response.admission.map(|a| pb::Admission { evidence_id: String::new(), ..a });
    Ok(pb::SimulateAdmissionResponse { admission, headroom })
}

async fn headroom(
    desk: &mut Desk<'_>,
    scope: &RunScope,
    at: Micros,
) -> Result<Vec<pb::LimitHeadroom>, Fault> {
    let applicable: Vec<Applicable> = desk.applicable(scope, true);
    let mut rows = Vec::with_capacity(applicable.len());
    for (limit, envelope) in applicable {
        let key = envelope.envelope_key;
        let (usage, held, limit_value, headroom) = match limit.spec.category {
            Category::Budget => {
                let state = desk.with_book(|book| book.standing(key, at)).await?;
                (state.usage, state.held, state.limit_value, state.reservable)
            }
            Category::Rate => {
                let tokens = desk.gates.bucket(key, &limit, at).at(&limit, at).tokens();
                (limit.spec.burst - tokens, 0, limit.spec.burst, tokens.max(0))
            }
            Category::Concurrency => {
                let taken = i64::try_from(desk.gates.slots(key, (0, 0)).0).unwrap_or(i64::MAX);
                (taken, taken, limit.spec.max_value, (limit.spec.max_value - taken).max(0))
            }
            Category::Threshold => continue,
        };
        rows.push(pb::LimitHeadroom {
            limit_id: limit.id.clone(),
            envelope_id: envelope.envelope_id.clone(),
            unit: limit.spec.unit.code(),
            usage,
            held,
            limit_value,
            headroom,
        });
    }
    Ok(rows)
}
