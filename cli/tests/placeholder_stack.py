"""`noetl-server up` with placeholders as services: DATA [PORT]."""

import sys
from pathlib import Path

from noetl.commands.up import serve
from noetl.stack.datadir import DataDirectory
from noetl.stack.errors import StackError
from noetl.stack.supervisor import StackPlan
from noetl_testkit.waiting import PATIENCE_SECONDS

MODULES = dict.fromkeys(("api-gateway", "orchestrator", "worker"), "placeholder_service")

if __name__ == "__main__":
    plan = StackPlan(
        data=DataDirectory(Path(sys.argv[1])),
        port=int(sys.argv[2]) if len(sys.argv) > 2 else None,
        modules=MODULES,
        replicas={"worker": 2},
    )
    try:
        serve(plan, ready_timeout=PATIENCE_SECONDS)
    except StackError as error:
        sys.exit(f"placeholder_stack: {error}")
