//! The admission that AdmitRun would give: it is given, read, and undone.

use contracts_controls::v1 as pb;
use runspine_controls_domain::limit::RunScope;
use runspine_db::{DbError, Tx};
use runspine_errors::Fault;
use runspine_types::Micros;

use super::{
    App,
    accounts::{Ask, Out},
    defect,
};
use crate::store::{caches::Caches, desk::Desk, envelopes::Applicable};

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
        let now = self.clock.now();
        self.db
            .write("simulate_admission", move |tx| {
                Box::pin(async move {
                    let tried: Result<(), Undone> =
                        tx.nested(move |tx| Box::pin(async move { Err(attempt(tx, ask, now).await) })).await;
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

async fn attempt(tx: &mut Tx, ask: Ask, now: Micros) -> Undone {
    match answer(tx, ask, now).await {
        Ok(response) => Undone::Answered(Box::new(response)),
        Err(fault) => Undone::Failed(fault),
    }
}

async fn answer(tx: &mut Tx, ask: Ask, now: Micros) -> Result<pb::SimulateAdmissionResponse, Fault> {
    let caches = Caches::default();
    let at = ask.now.unwrap_or(now);
    let mut desk = Desk::open(tx, &caches, &[ask.caller.tenant_id.as_str()]).await?;
    let tuple = ask.scope.clone().unwrap_or_default();
    desk.intern_runs(&[(&ask.run, prost::Message::encode_to_vec(&tuple))], at).await?;
    let scope = desk.run(&ask.run).ok_or_else(|| defect("a run was not made"))?.run_scope()?;
    desk.ensure_envelopes(std::slice::from_ref(&scope), at).await?;
    let headroom = headroom(&mut desk, &scope, at).await?;
    let Out::Run(response) = desk.answer(&ask, at).await? else {
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
    let applicable: Vec<Applicable> = desk.applicable(scope);
    let mut rows = Vec::with_capacity(applicable.len());
    for (limit, envelope) in applicable {
        let key = envelope.envelope_key;
        let state = desk.with_book(|book| book.standing(key, at)).await?;
        rows.push(pb::LimitHeadroom {
            limit_id: limit.id.clone(),
            envelope_id: envelope.envelope_id.clone(),
            unit: limit.spec.unit.code(),
            usage: state.usage,
            held: state.held,
            limit_value: state.limit_value,
            headroom: state.reservable,
        });
    }
    Ok(rows)
}
