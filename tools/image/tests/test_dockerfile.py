"""The Dockerfile, read: promises about every image that need no engine to be checked."""

import re
from pathlib import Path

TOP = Path(__file__).parents[3]
TEXT = (TOP / "Dockerfile").read_text()
STAGES = re.split(r"(?m)^(?=FROM )", TEXT)


def test_images_run_as_a_number_that_is_not_root() -> None:
    last = STAGES[-1]

    assert "--uid 10001" in last
    assert "USER 10001:10001" in last
    assert not re.search(r"(?m)^(RUN|COPY|ADD) ", last.split("USER ")[1])


def test_nothing_is_installed_without_a_hash() -> None:
    installs = re.findall(r"pip install[^&]*?(?<!\\)\n|pip install[^&]*", TEXT)

    assert len(installs) == 3
    assert all("--require-hashes" in line or "--offline /wheels" in line for line in installs)
    assert "--require-hashes --build-constraint requirements.txt" in TEXT
    assert not re.search(r"apt-get|curl |wget |ADD http", TEXT)


def test_the_service_is_chosen_behind_what_all_share() -> None:
    shared = [stage for stage in STAGES if "AS uv" in stage or "AS wheels" in stage]

    assert len(shared) == 2
    assert not [stage for stage in shared if "SERVICE" in stage]
    assert "COPY . " not in TEXT


def test_what_is_copied_is_in_the_context() -> None:
    lines = (TOP / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", TEXT)
    names = {name for words in copied for name in words.split()}

    assert "*" in lines
    assert names <= let_in | {"tools/image/strip.py"}
    assert all((TOP / name).exists() for name in names)


def test_images_say_what_they_are() -> None:
    for label in ("title", "version", "revision", "source", "licenses"):
        assert f"org.opencontainers.image.{label}=" in STAGES[-1]
    assert "NOETL_BUILD_REVISION=${REVISION}" in STAGES[-1]
    assert "python:3.13-slim" in STAGES[0]
    assert '["python", "-m", "noetl_service.healthcheck"]' in STAGES[-1]
