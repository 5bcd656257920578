//! The settings of a tenant.

use contracts_policies::v1 as pb;
use runspine_db::{Tx, args};
use runspine_errors::Fault;
use runspine_policies_domain::{reasons, rule::check_reason, settings::Settings, words::Profile};
use runspine_types::Micros;

use super::{
    App, Keyed, Who,
    emit::{About, event},
    layer, unreadable,
};
use crate::{present, store::rules};

impl App {
    /// The settings in force.
    pub(crate) async fn settings(&self, who: &Who) -> Result<pb::PolicySettings, Fault> {
        let sql = "SELECT version, body FROM settings WHERE tenant_id = $1";
        let row: Option<(u64, bytes::Bytes)> = self.db.read().fetch_optional(sql, args![&who.tenant]).await?;
        let (version, settings) = match row {
            Some((version, body)) => (version, serde_json::from_slice(&body).map_err(unreadable)?),
            None => (0, Settings::of(self.profile)),
        };
        Ok(present::settings(version, &settings))
    }

    /// Changes the settings and builds the snapshot with them.
    pub(crate) async fn set_settings(
        &self,
        who: &Who,
        request: &pb::SetPolicySettingsRequest,
        settings: Settings,
    ) -> Result<pb::SetPolicySettingsResponse, Fault> {
        check_reason(&request.reason)?;
        settings.check(self.profile, who.operator)?;
        let key = Keyed::by_request_id("policies.SetPolicySettings", &request.request_id, request);
        let change = Change {
            who: who.clone(),
            profile: self.profile,
            at: self.now(),
            expected: request.expected_version,
            reason: request.reason.clone(),
            settings: settings.normalized(),
        };
        let done = self.keyed(who, key, move |tx| Box::pin(set(tx, change))).await;
        self.cache.forget_active(&who.tenant);
        done
    }
}

struct Change {
    who: Who,
    profile: Profile,
    at: Micros,
    expected: u64,
    reason: String,
    settings: Settings,
}

async fn set(tx: &mut Tx, change: Change) -> Result<pb::SetPolicySettingsResponse, Fault> {
    let Change { who, profile, at, expected, reason, settings } = change;
    let (version, before) = layer::settings(tx, &who.tenant, profile).await?;
    let body = serde_json::to_vec(&settings).map_err(unreadable)?;
    let next = expected.saturating_add(1);
    if version != expected || !rules::put_settings(tx, &who.tenant, next, &body).await? {
        return Err(Fault::new(&reasons::VERSION_CONFLICT, "the settings were changed since they were read"));
    }
    let sql = "INSERT INTO setting_changes (tenant_id, version, body, reason, actor_type, actor_id, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let actor = (who.actor.r#type, who.actor.id.as_str());
    tx.execute(sql, args![&who.tenant, next, &body, &reason, actor.0, actor.1, at]).await?;
    let built = layer::rebuild(tx, &who, profile, at, true).await?;
    let data = pb::SettingsChanged { version: next, snapshot_digest: built.digest().to_vec().into() };
    let about = About {
        entity_type: "settings",
        entity_id: who.tenant.clone(),
        reason,
        before: serde_json::to_string(&before).map_err(unreadable)?,
        after: serde_json::to_string(&settings).map_err(unreadable)?,
        ..About::default()
    };
    tx.emit_raw(event(&who, "SettingsChanged", about, &data, at));
    Ok(pb::SetPolicySettingsResponse {
        settings: Some(present::settings(next, &settings)),
        snapshot_digest: data.snapshot_digest,
    })
}
