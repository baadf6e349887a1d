"""Plants a fault into orchestrator processes: the outcome of a step named `hang` never returns.

Python imports this module at its start when its folder is on the path. The sleep stands for a call
into C that holds everything up; no interrupt between two instructions of Python ends it.
"""

import sys

if "noetl_orchestrator" in sys.orig_argv:
    import time

    from noetl_contract.ingress import CommandOutcomeMessage
    from noetl_engine.execution import Execution

    _decide = Execution.decide

    def _hanging(self: Execution, playbook: object, message: object, facts: object) -> object:
        is_outcome = isinstance(message, CommandOutcomeMessage) and message.hold.step == "hang"
        if is_outcome and not self.state.ended:
            while True:
                time.sleep(3600)
        return _decide(self, playbook, message, facts)  # type: ignore[arg-type]

    Execution.decide = _hanging  # type: ignore[assignment,method-assign]
