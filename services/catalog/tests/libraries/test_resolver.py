"""Lists of requirements to locks, by the real uv, from a folder of wheels."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from noetl_catalog.libraries import Resolved, Resolver, ResolveSettings
from noetl_contract.rpc import Refusal
from noetl_engine.playbook.libraries import libraries_of
from noetl_engine.playbook.yaml import compose
from noetl_testkit.wheels import make_source, make_wheel
from pydantic import SecretStr


@pytest.fixture
def index(tmp_path: Path) -> Path:
    place = tmp_path / "index"
    for version in ("1.0", "2.0"):
        make_wheel(place, "noetlone", version, requires=["noetltwo"])
    make_wheel(place, "noetltwo", "0.5")
    return place


def make_resolver(index: Path, **changes: Any) -> Resolver:
    settings = {"libraries_index_url": SecretStr("none"), "libraries_find_links": (str(index),)}
    return Resolver(ResolveSettings(**(settings | changes)))


async def resolve(resolver: Resolver, *wanted: str, code: str = "pass") -> Resolved | Refusal:
    listed = "\n".join(f"    - '{one}'" for one in wanted)
    text = f"workflow:\n- step: load\n  tool:\n    kind: python\n    requirements:\n{listed}\n"
    return await resolver.resolve(libraries_of(compose(f"{text}    code: {json.dumps(code)}\n")))


async def test_a_lock_has_every_package_with_hashes(index: Path) -> None:
    resolved = await resolve(make_resolver(index), "noetlone<2")

    assert isinstance(resolved, Resolved)
    (lock,) = resolved.locks.values()
    assert lock.lock is not None
    assert [line.split(" ")[0] for line in lock.lock.splitlines() if "==" in line] == [
        "noetlone==1.0",
        "noetltwo==0.5",
    ]
    assert lock.lock.count("--hash=sha256:") == 2


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("noetlone>2", "step 'load': noetlone>2 can't be resolved: .*noetlone"),
        ("noetlone @ file:///etc/passwd", "step 'load': requirements: .* is no package"),
    ],
)
async def test_what_can_t_be_had_is_refused_by_name(index: Path, wanted: str, problem: str) -> None:
    resolved = await resolve(make_resolver(index), wanted)

    assert isinstance(resolved, Refusal)
    assert resolved.status == 422
    assert re.search(problem, resolved.error, re.DOTALL), resolved.error


async def test_nothing_is_built_from_source(index: Path, tmp_path: Path) -> None:
    make_source(index, "noetlbuilt", "1.0", mark=tmp_path / "was-built")

    resolved = await resolve(make_resolver(index), "noetlbuilt")

    assert isinstance(resolved, Refusal)
    assert not (tmp_path / "was-built").exists()


async def test_without_an_index_the_setting_decides(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"

    refused = await resolve(make_resolver(nowhere), "noetlone")
    kept = await resolve(make_resolver(nowhere, libraries_unresolved="keep"), "noetlone")

    assert isinstance(refused, Refusal)
    assert refused.status == 503
    assert refused.error.startswith("step 'load': noetlone can't be resolved: ")
    assert isinstance(kept, Resolved)
    assert [lock.reason for lock in kept.locks.values()] == list(kept.problems)


@pytest.mark.parametrize(
    ("changes", "status", "problem"),
    [
        ({"libraries": False}, 422, "takes no libraries"),
        ({"libraries_allowed": "NoetlOne, other"}, 422, "not among the packages .*: noetltwo"),
        ({"libraries_lock_max_bytes": 100}, 422, "more than 100 bytes"),
        ({"libraries_uv": "/nowhere/uv"}, 503, "can't be started"),
    ],
)
async def test_bounds_are_named(
    index: Path, changes: dict[str, Any], status: int, problem: str
) -> None:
    resolved = await resolve(make_resolver(index, **changes), "noetlone")

    assert isinstance(resolved, Refusal)
    assert resolved.status == status
    assert re.search(problem, resolved.error), resolved.error


async def test_a_uv_that_takes_too_long_is_ended(index: Path, tmp_path: Path) -> None:
    slow = tmp_path / "uv"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)

    resolved = await resolve(
        make_resolver(index, libraries_resolve_seconds=0.5, libraries_uv=str(slow)), "noetlone"
    )

    assert isinstance(resolved, Refusal)
    assert resolved.status == 503
    assert "longer than" in resolved.error


async def test_the_header_s_python_counts(index: Path) -> None:
    code = '# /// script\n# requires-python = ">=4"\n# ///\n'

    resolved = await resolve(make_resolver(index), "noetlone", code=code)

    assert isinstance(resolved, Refusal)
    assert resolved.status == 422
