//! CheckEligibility: whether a pattern was seen often enough, or badly enough, for a proposal.

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_policies_domain::{
    proposal::{SUPPORT_AGE, eligibility},
    words::{Mode, Severity},
};
use runspine_rpc::timestamp;

use crate::{
    app::{App, Who},
    store::lessons,
};

/// Items that are shown.
const SHOWN: i64 = 100;

impl App {
    /// Judges a pattern by what was counted on its lessons.
    pub(crate) async fn eligible(
        &self,
        who: &Who,
        signature: &str,
    ) -> Result<pb::CheckEligibilityResponse, Fault> {
        let pattern = (signature, self.now().0.saturating_sub(SUPPORT_AGE));
        let (rows, all) = lessons::support(self.db.read(), &who.tenant, pattern, SHOWN).await?;
        let judged = eligibility(all.count, Severity::from_code(all.worst));
        Ok(pb::CheckEligibilityResponse {
            eligible: judged.mode.is_some(),
            supporting: rows
                .into_iter()
                .map(|r| pb::SupportingItem {
                    lesson_id: r.lesson_id,
                    r#type: r.kind,
                    severity: r.severity,
                    at: Some(timestamp(r.at)),
                })
                .collect(),
            supporting_count: all.count,
            missing: judged.missing,
            mode: judged.mode.map_or(0, Mode::code),
        })
    }
}
