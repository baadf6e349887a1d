from pathlib import Path

import everything


def test_no_check_is_forgotten() -> None:
    here = Path(everything.__file__).parent
    named = {check.__name__ for check in everything.CHECKS}

    tools = {"everything", "findings", "questions"}
    assert {path.stem for path in here.glob("*.py")} - tools == named
