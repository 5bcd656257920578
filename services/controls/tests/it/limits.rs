//! Limits and their governance events.

use contracts_controls::v1 as pb;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_rpc::details;
use runspine_testkit::{TestStore, on_both_engines, test_id};

use crate::{
    call,
    harness::{House, daily, plain, refused, settled, step, verdict},
};

fn update(id: &str, version: u32, max_value: i64, number: u64) -> pb::UpdateLimitRequest {
    pb::UpdateLimitRequest {
        request_id: test_id(7, number),
        limit_id: id.to_owned(),
        expected_version: version,
        max_value: Some(max_value),
        reason: "the campaign has ended".into(),
        ..pb::UpdateLimitRequest::default()
    }
}

fn threshold(name: &str, key: &str, value: i64) -> pb::LimitSpec {
    let params = vec![pb::ThresholdValue { key: key.to_owned(), value }];
    pb::LimitSpec { category: 4, unit: 0, max_value: 0, period: 0, params, ..daily(name, 0) }
}

on_both_engines! {
    /// The control set is what its digest says, the one of an admission can be asked for, and a limit of the mesh is in
    /// everyone's.
    async fn the_control_set_is_content_addressed(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        let stamped = house.admit(1).await.unwrap().admission.unwrap().control_set_digest;
        let ask = |digest| pb::GetControlSetRequest { digest };
        let first = call!(house, limits.get_control_set, "LimitService/GetControlSet", ask(stamped.clone())).unwrap();
        assert_eq!((first.entries.len(), first.entries[0].version), (1, 1));
        let sized = [b"runspine.controlset.v1\0".as_slice(), &(first.content.len() as u64).to_be_bytes(), &first.content];
        assert_eq!(runspine_types::hash(&sized.concat()).to_vec(), stamped.to_vec());
        let spec = pb::LimitSpec { scope: 1, ..daily("mesh", 50) };
        let message = pb::CreateLimitRequest { request_id: test_id(7, 2), spec: Some(spec) };
        let request = house.ask_as(runspine_types::PLATFORM_TENANT, "op", "LimitService/CreateLimit", message);
        let mesh = house.limits.clone().create_limit(request).await.unwrap().into_inner().limit.unwrap();
        let now = call!(house, limits.get_control_set, "LimitService/GetControlSet", ask(Default::default())).unwrap();
        assert_eq!(now.entries.len(), 2);
        assert_ne!(now.digest, stamped);
        let answer = house.step(step(1, 0, 60)).await.unwrap().admission.unwrap();
        assert_eq!(answer.control_set_digest, now.digest);
        assert_eq!((answer.verdict, answer.reasons[0].source_id.as_str()), (2, mesh.limit_id.as_str()));
        let unknown = call!(house, limits.get_control_set, "LimitService/GetControlSet", ask(vec![7; 32].into()));
        refused(unknown, &reasons::LIMIT_NOT_FOUND);
    }

    /// A limit that degrades lets the step go ahead with its obligations.
    async fn a_degrading_limit_modifies(store: TestStore) {
        let house = House::over(store).await;
        let degrade = Some(pb::Degrade { cap_tokens: 100, use_model: "small".into(), dry_run: false });
        house.create(1, pb::LimitSpec { enforcement: 4, degrade, ..daily("day", 50) }).await;
        house.admit(1).await.unwrap();
        let plain = house.step(step(1, 0, 40)).await.unwrap();
        assert_eq!(verdict(plain.admission.as_ref()).0, 1);
        let answer = house.step(step(1, 1, 40)).await.unwrap();
        let admission = answer.admission.unwrap();
        assert_eq!((admission.verdict, admission.reasons[0].code.as_str()), (3, "BUDGET_EXCEEDED"));
        let named: Vec<&str> = admission.obligations.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(named, ["cap_tokens", "use_model"]);
        assert_eq!(answer.hold.unwrap().lines[0].amount, 0);
        let settled = house.settle(settled(1, 1, 10)).await.unwrap();
        assert_eq!((settled.lines[0].funded, settled.directive), (10, 1));
    }

    /// A threshold with BLOCK refuses the step that would pass it; landing on it is allowed.
    async fn a_blocking_threshold_refuses(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, pb::LimitSpec { enforcement: 1, ..threshold("steps", "max_steps", 3) }).await;
        house.admit(1).await.unwrap();
        let at = |index: u32, steps: i64| pb::AdmitStepRequest {
            totals: Some(contracts_common::common::v1::Totals { steps, ..Default::default() }),
            ..step(1, index, 1)
        };
        assert_eq!(verdict(house.step(at(0, 2)).await.unwrap().admission.as_ref()).0, 1);
        let refused = house.step(at(1, 3)).await.unwrap();
        assert_eq!(verdict(refused.admission.as_ref()), (2, 1, vec!["THRESHOLD_EXCEEDED".to_owned()]));
        assert!(refused.hold.is_none());
    }

    /// A limit of a provider counts its LLM steps and nothing else.
    async fn a_provider_limit_counts_its_llm_steps(store: TestStore) {
        let house = House::over(store).await;
        let spec = pb::LimitSpec { scope: 7, scope_id: "openai".into(), ..daily("provider", 100) };
        let limit = house.create(1, spec).await;
        house.admit(1).await.unwrap();
        let at = |index: u32, kind: i32, provider: &str| pb::AdmitStepRequest {
            kind, provider: provider.to_owned(), ..step(1, index, 60)
        };
        let lines = |answer: pb::AdmitStepResponse| answer.hold.map(|hold| hold.lines.len());
        assert_eq!(lines(house.step(at(0, 1, "openai")).await.unwrap()), Some(1));
        assert_eq!(lines(house.step(at(1, 1, "other")).await.unwrap()), Some(0));
        assert_eq!(lines(house.step(at(2, 2, "openai")).await.unwrap()), Some(0));
        assert_eq!(lines(house.step(at(3, 1, "openai")).await.unwrap()), None);
        house.settle(settled(1, 0, 50)).await.unwrap();
        assert_eq!(house.envelope(&limit.limit_id).await.period.unwrap().usage, 50);
    }

    /// Made, changed, disabled, enabled: four events with the state before and after.
    async fn four_governance_events(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        assert_eq!((limit.version, limit.state, limit.spec.as_ref().unwrap().warn_permille), (1, 1, 800));
        let message = update(&limit.limit_id, 1, 200, 2);
        let changed = call!(house, limits.update_limit, "LimitService/UpdateLimit", message.clone()).unwrap();
        assert_eq!(call!(house, limits.update_limit, "LimitService/UpdateLimit", message).unwrap(), changed);
        let stale = update(&limit.limit_id, 1, 300, 3);
        refused(call!(house, limits.update_limit, "LimitService/UpdateLimit", stale), &reasons::VERSION_CONFLICT);
        let disable = pb::DisableLimitRequest {
            request_id: test_id(7, 4), limit_id: limit.limit_id.clone(), expected_version: 2,
            reason: "it is in the way".into(),
        };
        call!(house, limits.disable_limit, "LimitService/DisableLimit", disable).unwrap();
        let enable = pb::EnableLimitRequest {
            request_id: test_id(7, 5), limit_id: limit.limit_id.clone(), expected_version: 3,
            reason: "it is needed again".into(),
        };
        call!(house, limits.enable_limit, "LimitService/EnableLimit", enable).unwrap();
        let events = house.published().await;
        let kinds: Vec<&str> = events.iter().map(|e| e.r#type.as_str()).collect();
        assert_eq!(kinds, [
            "controls.LimitCreated", "controls.LimitUpdated", "controls.LimitDisabled", "controls.LimitEnabled",
        ]);
        assert!(events[0].before_state.is_empty());
        assert!(events[1].before_state.contains("\"max_value\":100"));
        assert!(events[1].after_state.contains("\"max_value\":200"));
        assert!(events[2].after_state.contains("\"state\":\"DISABLED\""));
        assert_eq!((events[2].reason.as_str(), events[2].entity_id.as_str()), ("it is in the way", limit.limit_id.as_str()));
        assert_eq!(house.one::<(i64,)>("SELECT COUNT(*) FROM limit_versions").await.0, 4);
    }

    /// Everything that is wrong is named at once, and nothing is made.
    async fn nonsense_is_refused(store: TestStore) {
        let house = House::over(store).await;
        let spec = pb::LimitSpec {
            max_value: 0, warn_permille: 900, block_permille: 800, rollover: true, period: 5, ..daily("", 1)
        };
        let message = pb::CreateLimitRequest { request_id: test_id(7, 1), spec: Some(spec) };
        let status = refused(call!(house, limits.create_limit, "LimitService/CreateLimit", message), &reasons::LIMIT_INVALID);
        let mut fields: Vec<String> = details(&status).fields.into_iter().map(|f| f.0).collect();
        fields.sort();
        assert_eq!(fields, ["spec.block_permille", "spec.max_value", "spec.name", "spec.rollover"]);
        let rate = pb::LimitSpec { category: 2, unit: 5, scope: 9, scope_id: String::new(), ..daily("rate", 5) };
        let message = pb::CreateLimitRequest { request_id: test_id(7, 2), spec: Some(rate) };
        let status = refused(call!(house, limits.create_limit, "LimitService/CreateLimit", message), &reasons::LIMIT_INVALID);
        let mut fields: Vec<String> = details(&status).fields.into_iter().map(|f| f.0).collect();
        fields.sort();
        assert_eq!(fields, ["spec.period", "spec.scope_id", "spec.unit", "spec.window_s"]);
        for (number, reason, spec) in [
            (21, &reasons::UNIT_MISMATCH, plain("a", 3, pb::LimitUnit::CostMicrousd, 5)),
            (22, &reasons::WINDOW_REQUIRED, plain("b", 2, pb::LimitUnit::Requests, 5)),
            (23, &reasons::SCOPE_INVALID, pb::LimitSpec { scope_id: "x".into(), ..daily("c", 5) }),
            (24, &reasons::AMOUNT_INVALID, daily("d", 0)),
            (25, &reasons::THRESHOLD_UNKNOWN_KEY, pb::LimitSpec { unit: 8, ..threshold("e", "max_stepz", 5) }),
            (26, &reasons::THRESHOLD_OUT_OF_RANGE, threshold("f", "max_tokens", 5)),
            (27, &reasons::OPERATOR_REQUIRED, pb::LimitSpec { scope: 1, ..daily("g", 5) }),
        ] {
            let message = pb::CreateLimitRequest { request_id: test_id(7, number), spec: Some(spec) };
            refused(call!(house, limits.create_limit, "LimitService/CreateLimit", message), reason);
        }
        let unnamed = pb::LimitSpec { period: 0, ..daily("day", 5) };
        let message = pb::CreateLimitRequest { request_id: test_id(7, 3), spec: Some(unnamed) };
        refused(call!(house, limits.create_limit, "LimitService/CreateLimit", message), &reasons::PERIOD_REQUIRED);
        house.create(4, daily("day", 5)).await;
        let twice = pb::CreateLimitRequest { request_id: test_id(7, 5), spec: Some(daily("day", 5)) };
        refused(call!(house, limits.create_limit, "LimitService/CreateLimit", twice), &reasons::LIMIT_EXISTS);
        let other = pb::CreateLimitRequest { request_id: test_id(7, 4), spec: Some(daily("day", 6)) };
        refused(call!(house, limits.create_limit, "LimitService/CreateLimit", other), &mesh::IDEMPOTENCY_MISMATCH);
    }

    /// A change counts from the next step of runs under way; a disabled limit refuses nobody and is still settled.
    async fn a_change_counts_at_the_next_step(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 90)).await.unwrap();
        assert_eq!(verdict(house.step(step(1, 1, 20)).await.unwrap().admission.as_ref()).0, 2);
        let message = update(&limit.limit_id, 1, 200, 2);
        call!(house, limits.update_limit, "LimitService/UpdateLimit", message).unwrap();
        assert_eq!(verdict(house.step(step(1, 2, 20)).await.unwrap().admission.as_ref()).0, 1);
        let disable = pb::DisableLimitRequest {
            request_id: test_id(7, 3), limit_id: limit.limit_id.clone(), expected_version: 2,
            reason: "it is in the way".into(),
        };
        call!(house, limits.disable_limit, "LimitService/DisableLimit", disable).unwrap();
        assert!(house.step(step(1, 3, 9_000)).await.unwrap().hold.unwrap().lines.is_empty());
        assert_eq!(house.settle(settled(1, 0, 80)).await.unwrap().lines[0].funded, 80);
        let settlement = house.settle_run(1, 1).await.unwrap();
        assert_eq!(settlement.usage[0].usage, 80);
        let message = pb::GetLimitRequest { limit_id: limit.limit_id };
        let shown = call!(house, limits.get_limit, "LimitService/GetLimit", message).unwrap();
        assert_eq!((shown.usage.unwrap().usage, shown.limit.unwrap().state), (80, 2));
    }

    /// Pages and filters of the lists.
    async fn lists_go_on_where_they_ended(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..6 {
            house.create(number, daily(&format!("day {number}"), 100)).await;
        }
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = pb::ListLimitsRequest { page_size: 2, page_token, ..pb::ListLimitsRequest::default() };
            let page = call!(house, limits.list_limits, "LimitService/ListLimits", message).unwrap();
            names.extend(page.limits.into_iter().map(|l| l.spec.unwrap().name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, ["day 1", "day 2", "day 3", "day 4", "day 5"]);
        let message = pb::ListEnvelopesRequest { page_size: 2, ..pb::ListEnvelopesRequest::default() };
        let page = call!(house, budgets.list_envelopes, "BudgetService/ListEnvelopes", message).unwrap();
        assert_eq!(page.envelopes.len(), 2);
        let other = pb::ListLimitsRequest { page_token: page.next_page_token, ..pb::ListLimitsRequest::default() };
        refused(call!(house, limits.list_limits, "LimitService/ListLimits", other), &mesh::PAGE_TOKEN_MISMATCH);
        house.admit(1).await.unwrap();
        let message = pb::ListBudgetEntriesRequest { kinds: vec![1], page_size: 3, ..Default::default() };
        let page = call!(house, budgets.list_budget_entries, "BudgetService/ListBudgetEntries", message).unwrap();
        assert_eq!((page.entries.len(), page.entries[0].amount, page.entries[0].unit), (3, 5, 1));
        assert!(!page.next_page_token.is_empty());
    }
}
