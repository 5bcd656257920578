//! The spine's view of activity.

use contracts_activity::v1::{
    AddPauseRequest, AddPauseResponse, ApplyFactsRequest, ApplyFactsResponse, ClaimLapsedRequest,
    ClaimLapsedResponse, ClearPausesRequest, ClearPausesResponse, CreateAttemptRequest,
    CreateAttemptResponse, CreateRunRequest, CreateRunResponse, ExtendPauseRequest, ExtendPauseResponse,
    FinishRunRequest, FinishRunResponse, GetAnswerRequest, GetAnswerResponse, GetRunStateRequest,
    GetRunStateResponse, GetRunViewRequest, GetRunViewResponse, GrantLeaseRequest, GrantLeaseResponse,
    KeepAnswerRequest, KeepAnswerResponse, ReleaseLeaseRequest, ReleaseLeaseResponse, RenewLeaseRequest,
    RenewLeaseResponse, RequestStopRequest, RequestStopResponse, TransitionRunRequest, TransitionRunResponse,
    run_query_service_client::RunQueryServiceClient, run_store_service_client::RunStoreServiceClient,
};

use super::bridge;

bridge! {
    /// Runs, attempts and their phases.
    ActivityBridge {
        /// Creates a run.
        create_run: RunStoreServiceClient.create_run(CreateRunRequest) -> CreateRunResponse;
        /// Moves an attempt.
        transition: RunStoreServiceClient.transition_run(TransitionRunRequest) -> TransitionRunResponse;
        /// Makes an attempt terminal.
        finish: RunStoreServiceClient.finish_run(FinishRunRequest) -> FinishRunResponse;
        /// Creates the next attempt.
        create_attempt: RunStoreServiceClient.create_attempt(CreateAttemptRequest) -> CreateAttemptResponse;
        /// Where an attempt stands.
        run_state: RunStoreServiceClient.get_run_state(GetRunStateRequest) -> GetRunStateResponse;
    }
}

bridge! {
    /// Leases.
    ActivityLeaseBridge {
        /// Grants one.
        grant: RunStoreServiceClient.grant_lease(GrantLeaseRequest) -> GrantLeaseResponse;
        /// Extends one.
        renew: RunStoreServiceClient.renew_lease(RenewLeaseRequest) -> RenewLeaseResponse;
        /// Gives one back.
        release: RunStoreServiceClient.release_lease(ReleaseLeaseRequest) -> ReleaseLeaseResponse;
        /// Takes over runs that nobody keeps alive.
        claim_lapsed: RunStoreServiceClient.claim_lapsed(ClaimLapsedRequest) -> ClaimLapsedResponse;
    }
}

bridge! {
    /// Stops and pauses.
    ActivityStopBridge {
        /// Stores that a run has to end.
        stop: RunStoreServiceClient.request_stop(RequestStopRequest) -> RequestStopResponse;
        /// Adds a reason to wait.
        pause: RunStoreServiceClient.add_pause(AddPauseRequest) -> AddPauseResponse;
        /// Lets a pause last once more as long.
        extend: RunStoreServiceClient.extend_pause(ExtendPauseRequest) -> ExtendPauseResponse;
        /// Takes reasons to wait away.
        clear: RunStoreServiceClient.clear_pauses(ClearPausesRequest) -> ClearPausesResponse;
    }
}

bridge! {
    /// Answers of the kernel's keyed calls.
    ActivityAnswerBridge {
        /// Keeps one; the first wins.
        keep: RunStoreServiceClient.keep_answer(KeepAnswerRequest) -> KeepAnswerResponse;
        /// Reads one.
        get: RunStoreServiceClient.get_answer(GetAnswerRequest) -> GetAnswerResponse;
    }
}

bridge! {
    /// What people look at.
    ActivityViewBridge {
        /// Tells the projection what happened elsewhere.
        apply_facts: RunStoreServiceClient.apply_facts(ApplyFactsRequest) -> ApplyFactsResponse;
        /// A run with everything activity knows of it.
        run_view: RunQueryServiceClient.get_run_view(GetRunViewRequest) -> GetRunViewResponse;
    }
}
