"""Playbooks of one container each, which end in every way there is."""

from typing import Final

IMAGE: Final = "noetl-proof:1"
VOLUME: Final = "noetl-proof-gate"


def playbook(name: str, script: str, **more: object) -> str:
    """Return a playbook of one container and a step after it."""
    extra = "".join(f"      {key}: {value}\n" for key, value in more.items())
    return f"""apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: proof/{name}}}
workload: {{text: plain}}
workflow:
  - step: start
    tool:
      kind: container
      image: {IMAGE}
      image_pull_policy: Never
      command: [/bin/sh, -c, {script!r}]
      env:
        - {{name: TEXT, value: "{{{{ workload.text }}}}"}}
        - {{name: API_TOKEN, value: geheim1234}}
      ttl_seconds: 1
{extra}    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {{kind: noop, result: "{{{{ start }}}}"}}
"""


def script(name: str, code: str, **job: object) -> str:
    """Return a playbook of one script and a step after it."""
    extra = "".join(f", {key}: {value}" for key, value in job.items())
    tool = f"""kind: script
      script: {{type: inline, content: {code!r}}}
      args: {{n: 21}}
      job: {{image: {IMAGE}, image_pull_policy: Never, env: {{WHO: me}},
        backoff_limit: 0, ttl_seconds_after_finished: 1{extra}}}"""
    return f"""apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: proof/{name}}}
workflow:
  - step: start
    tool:
      {tool}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {{kind: noop, result: "{{{{ start }}}}"}}
"""


_LOOP = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: _NAME_, path: proof/_NAME_}
workload: {numbers: []}
workflow:
  - step: start
    loop:
      in: "{{ workload.numbers }}"
      iterator: number
      spec: {mode: parallel}
    tool:
      kind: container
      image: noetl-proof:1
      env: [{name: NUMBER, value: "{{ iter.number }}"}]
      ttl_seconds: 0
      _MORE_
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop, result: "{{ start }}"}
"""


def loop(name: str, *lines: str) -> str:
    """Return a playbook of a container for each of the numbers it is started with."""
    return _LOOP.replace("_NAME_", name).replace("_MORE_", "\n      ".join(lines))


PLAYBOOKS = {
    "happy": playbook("happy", "echo $TEXT $API_TOKEN"),
    "exits": playbook("exits", "echo bad; exit 3"),
    "oom": playbook("oom", "tail /dev/zero", resources="{limits: {memory: 16Mi}}"),
    "late": playbook("late", "sleep 600", timeout_seconds=3),
    "program": playbook("program", "").replace("/bin/sh", "/bin/nothing"),
    "image": playbook("image", "").replace(IMAGE, "registry.invalid/nothing:1"),
    "pull": playbook("pull", "")
    .replace(IMAGE, "registry.invalid/nothing:1")
    .replace("Never", "IfNotPresent"),
    "long": playbook("long", "sleep 600"),
    "short": playbook("short", "sleep 20; echo over"),
    "volumes": playbook(
        "volumes",
        "echo kept > /gate/text && echo here > /own/text && cat /gate/text /own/text"
        " && ! touch /fixed/text 2>/own/errors && cat /fixed/text",
        volumes=f"[{{path: /gate, source: {VOLUME}}}, {{path: /own}},"
        f" {{path: /fixed, source: {VOLUME}, read_only: true}}]",
    ),
    # Each waits until the gate opens, so that all run at the same time.
    "many": loop(
        "many",
        'command: [/bin/sh, -c, "test -e /gate/open || cat /gate/wait; echo $NUMBER"]',
        "volumes: [{path: /gate, source: noetl-proof-gate}]",
        "resources: {limits: {memory: 16Mi, cpu: 100m}, requests: {memory: 1Mi, cpu: 1m}}",
    ),
}
