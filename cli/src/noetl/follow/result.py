"""The result of an execution on stdout, for programs and people."""

import json
import sys

from noetl_contract.json import Json


def print_result(result: Json) -> None:
    """Print a result: a text as it is, nothing for none, everything else as JSON."""
    if isinstance(result, str):
        sys.stdout.write(result + "\n")
    elif result is not None:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()
