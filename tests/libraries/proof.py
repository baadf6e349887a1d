"""Libraries from a real index: ``make libraries``; needs a network, or `--find-links`.

A playbook with a package is registered, started twice and started again in another version, and
both versions at once. Says what registering, the first and the second start took. Of pandas also
what its values are in a result, and how one that JSON lacks is refused.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx
from noetl_testkit.stack import Stack, finish, register, running_stack

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: libraries, path: proofs/libraries}}
workflow:
- step: start
  tool:
    kind: python
    requirements: ["{package}=={version}"]
    code: |
      import time
      began = time.perf_counter()
      import {package}
      took = time.perf_counter() - began
      result = {{"version": {package}.__version__, "seconds": took}}
"""
VALUES = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: values, path: proofs/values}}
workload: {{missing: false}}
workflow:
- step: start
  tool:
    kind: python
    requirements: ["pandas=={version}"]
    input: {{missing: "{{{{ workload.missing }}}}"}}
    code: |
      import pandas as pd
      at = pd.to_datetime(["2026-01-01T10:00:00", "2026-01-02T10:00:00"])
      df = pd.DataFrame({{"x": [1, 2], "price": [1.5, None if missing else 2.5], "at": at}})
      whole = df.astype(object).where(df.notna(), None)
      result = {{
          "sum": df.x.sum(), "any": df.x.any(), "mean": df.x.mean(), "last": df["at"].max(),
          "list": df.x, "array": df.x.to_numpy(), "times": df["at"].to_numpy(),
          "counts": df.x.value_counts().to_dict(),
          "table": whole if missing == "kept" else df,
      }}
"""
_TIMES = ["2026-01-01T10:00:00", "2026-01-02T10:00:00"]
IN_A_RESULT = {
    "sum": 3, "any": True, "mean": 1.5, "last": _TIMES[1], "list": [1, 2], "array": [1, 2],
    "times": [f"{one}.000000000" for one in _TIMES], "counts": {"1": 1, "2": 1},
}  # fmt: skip
_LONGEST_SECONDS = 400


@dataclass(frozen=True)
class Ran:
    """One execution."""

    version: str
    import_seconds: float
    seconds: float


def start(client: httpx.Client, version: int) -> int:
    """Start a version of the playbook."""
    body = {"path": "proofs/libraries", "version": version}
    answer = client.post("/api/execute", json=body)
    answer.raise_for_status()
    return int(answer.json()["execution_id"])


def end(client: httpx.Client, execution_id: int, began: float) -> Ran:
    """Wait for the end of an execution.

    Raises:
        RuntimeError: it failed, or its script did.
    """
    status = finish(client, execution_id, seconds=_LONGEST_SECONDS)
    seconds = perf_counter() - began
    detail = client.get(f"/api/executions/{execution_id}").json()
    result = detail.get("result")
    if status != "COMPLETED" or not isinstance(result, dict) or "version" not in result:
        raise RuntimeError(f"{status}: {detail.get('error') or result}")
    return Ran(str(result["version"]), float(result["seconds"]), seconds)


def prove(stack: Stack, package: str, versions: list[str]) -> bool:
    """Register, start and compare; print how long each took."""
    with stack.client() as client:
        client.timeout = httpx.Timeout(60)
        for number, version in enumerate(versions, start=1):
            began = perf_counter()
            register(client, PLAYBOOK.format(package=package, version=version))
            print(f"{package} {version}: registered in {perf_counter() - began:.2f} s", flush=True)
            for what in ("first", "second", "third"):
                began = perf_counter()
                ran = end(client, start(client, number), began)
                text = f"{what} start {ran.seconds:.2f} s, import {ran.import_seconds:.2f} s"
                print(f"{package} {ran.version}: {text}", flush=True)
        began = perf_counter()
        started = [start(client, 1 + n % 2) for n in range(8)]
        both = [end(client, one, began).version for one in started]
    print(f"side by side: {both} in {perf_counter() - began:.2f} s")
    return both == [versions[n % 2] for n in range(8)]


def prove_values(stack: Stack, version: str) -> bool:
    """Compare values of pandas with those of a result; a missing one has to be refused by name."""
    with stack.client() as client:
        client.timeout = httpx.Timeout(60)
        register(client, VALUES.format(version=version))
        told: list[bool] = []
        for missing, price in ((False, 2.5), ("kept", None), (True, "refused")):
            body = {"path": "proofs/values", "workload": {"missing": missing}}
            started = client.post("/api/execute", json=body).raise_for_status().json()
            execution_id = int(started["execution_id"])
            status = finish(client, execution_id, seconds=_LONGEST_SECONDS)
            detail = client.get(f"/api/executions/{execution_id}").json()
            if price == "refused":
                said = str(detail.get("error"))
                told.append(status == "FAILED" and "result.table[1].price is NaN" in said)
            else:
                rows = [
                    {"x": 1, "price": 1.5, "at": _TIMES[0]},
                    {"x": 2, "price": price, "at": _TIMES[1]},
                ]
                said = str(detail.get("result"))
                told.append(detail.get("result") == {**IN_A_RESULT, "table": rows})
            print(f"values of pandas {version}, missing {missing}: {said}", flush=True)
    return all(told)


def main() -> None:
    """Read the options, and prove it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", default="pandas")
    parser.add_argument("--versions", nargs=2, default=["2.3.3", "2.2.3"])
    parser.add_argument("--find-links", help="a folder of wheels, and no index")
    given = parser.parse_args()
    environment: dict[str, str] = {}
    if given.find_links:
        environment = {
            "NOETL_LIBRARIES_INDEX_URL": "none",
            "NOETL_LIBRARIES_FIND_LINKS": str(Path(given.find_links).resolve()),
        }
    with running_stack(environment=environment) as stack:
        is_right = prove(stack, given.package, given.versions)
        if given.package == "pandas":
            is_right = prove_values(stack, given.versions[0]) and is_right
    raise SystemExit(os.EX_OK if is_right else os.EX_SOFTWARE)


if __name__ == "__main__":
    main()
