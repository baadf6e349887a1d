"""The acceptance tests on each setting of `NOETL_INGRESS`: ``make acceptance``."""

import argparse
import subprocess
import sys
from pathlib import Path

from noetl_testkit.stack import add_ingress, each_ingress

_TESTS = Path(__file__).with_name("test_acceptance.py")


def main() -> int:
    """Run them; return the highest exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_ingress(parser)
    options = parser.parse_args()
    codes = []
    for ingress in each_ingress(options.ingress):
        print(f"ingress {ingress}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", str(_TESTS)]
        codes.append(subprocess.run(command, check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
