"""An end that was committed, its answer lost, is answered like the first time (W8)."""

import pytest
from noetl_contract.ingress import CancelMessage, FinalizeMessage
from noetl_engine.outputs import Answer
from noetl_orchestrator.turn.duplicates import repeated_answer
from noetl_orchestrator.turn.inputs import Caller, TurnInput

FAIL = FinalizeMessage(execution_id=7, status="FAILED")
COMPLETE = FinalizeMessage(execution_id=7, status="COMPLETED")
CANCEL = CancelMessage(execution_id=7)
ENDED = Answer(
    body={"execution_id": 7, "status": "FAILED", "message": "Execution already in FAILED state"}
)
REFUSED = Answer(status=422, error="Cannot cancel execution in CANCELLED state")


@pytest.mark.parametrize(
    ("message", "answer", "text"),
    [
        (
            FAIL,
            ENDED,
            "Execution finalized with status: FAILED",
        ),
        (
            COMPLETE,
            ENDED,
            "Execution already in FAILED state",
        ),
        (CANCEL, REFUSED, "Execution cancellation requested"),
    ],
)
def test_a_repetition_is_answered_like_the_first(
    message: CancelMessage | FinalizeMessage, answer: Answer, text: str
) -> None:
    turn_input = TurnInput(7, message, Caller(), is_repeated=True)

    assert repeated_answer(turn_input, message, answer).body["message"] == text


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (FAIL, ENDED),
        (CANCEL, REFUSED),
    ],
)
def test_what_comes_for_the_first_time_is_told_the_state(
    message: CancelMessage | FinalizeMessage, answer: Answer
) -> None:
    assert repeated_answer(TurnInput(7, message, Caller()), message, answer) is answer
