"""One governed run: start it, ask before acting, tell what happened, complete it, read the proof."""

import hashlib
import json
import os
import uuid

import grpc
from runspine.common.v1 import governance_pb2 as words
from runspine.spine.v1 import run_service_pb2 as spine
from runspine.spine.v1.run_service_pb2_grpc import RunServiceStub


def refund(order: str, amount_cents: int) -> str:
    """The tool. It must not be called without leave."""
    return f"refunded {amount_cents} for {order}"


def govern(address: str, key: str) -> None:
    credential = [("authorization", f"Bearer {key}")]
    runs = RunServiceStub(grpc.insecure_channel(address))

    start = spine.StartRunRequest(request_id=str(uuid.uuid4()), project_id="shop", agent_id="support-desk",
                                  origin_system_id="python-example", goal="refund two orders")
    started = runs.StartRun(start, metadata=credential)
    if started.outcome != spine.START_OUTCOME_ADMITTED:
        raise SystemExit(f"not admitted: {[r.code for r in started.decision.reasons]}")
    run = {"run_id": started.run.run_id, "attempt": started.run.attempt, "fence": started.lease.fence}

    for order, amount in [("A-1001", 2_500), ("A-1002", 90_000)]:
        arguments = [spine.Argument(key="order_id", text=order), spine.Argument(key="amount_cents", number=amount)]
        ask = spine.AuthorizeStepRequest(kind=words.STEP_KIND_TOOL_CALL, name="refund_payment",
                                         tool="refund_payment", arguments=arguments, **run)
        answer = runs.AuthorizeStep(ask, metadata=credential)
        # MODIFY comes with obligations; an agent that can't apply all of them must not act.
        if answer.decision.effective_verdict != words.VERDICT_ALLOW:
            print(f"{order}: {[f'{r.code}: {r.message}' for r in answer.decision.reasons]}")
            continue
        output = refund(order, amount)
        report = spine.RecordStepRequest(step_index=answer.step_index, decision_id=answer.decision.decision_id,
                                         outcome=words.STEP_OUTCOME_SUCCESS,
                                         input_digest=digest(started, json.dumps([order, amount])),
                                         output_digest=digest(started, output), cost_microusd=0, **run)
        recorded = runs.RecordStep(report, metadata=credential)
        print(f"{order}: {output}; record {recorded.receipt.position} of the trace")

    done = runs.CompleteRun(spine.CompleteRunRequest(outcome=words.STEP_OUTCOME_SUCCESS, **run), metadata=credential)
    proof = runs.GetRunProof(spine.GetRunProofRequest(run_id=done.run.run_id), metadata=credential)
    print(words.RunStatus.Name(done.run.status), words.AuditStatus.Name(done.run.audit_status),
          spine.ProofStatus.Name(proof.overall))


def digest(started: spine.StartRunResponse, payload: str) -> bytes:
    """Digest of a payload under the salt of its run: the mesh learns that it was this payload, never the payload."""
    data = payload.encode()
    prefix = b"runspine.payload.v1\0" + started.trace.digest_salt
    return hashlib.sha256(prefix + len(data).to_bytes(8, "big") + data).digest()


if __name__ == "__main__":
    govern(os.environ.get("RUNSPINE_ADDRESS", "127.0.0.1:7400"), os.environ["KEY"])
