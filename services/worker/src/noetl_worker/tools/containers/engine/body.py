"""The body that creates a container: the playbook's wishes, and limits that none can change."""

from dataclasses import dataclass

from noetl_contract.json import JsonObject

from noetl_worker.tools.containers.engine.labels import labels_of
from noetl_worker.tools.containers.plan import GPU, Plan
from noetl_worker.tools.containers.quantities import quantity

_LOG_BYTES = "8m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Limits that every container of the worker has.

    Attributes:
        network: the engine's network.
        pids: processes at most.
        user: number of the user, or empty for the image's own.
    """

    network: str
    pids: int
    user: str = ""


def create_body(plan: Plan, ceilings: Ceilings) -> JsonObject:
    """Return the body: no privileges, no devices but GPUs, no path of the host, no host network."""
    memory = int(quantity(plan.limits["memory"]))
    gpus = int(quantity(plan.limits.get(GPU, "0")))
    host: JsonObject = {
        "NetworkMode": ceilings.network,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": ceilings.pids,
        "Memory": memory,
        # The same again: no swap beside it.
        "MemorySwap": memory,
        "NanoCpus": int(quantity(plan.limits["cpu"]) * 1_000_000_000),
        "RestartPolicy": _restarts(plan),
        "AutoRemove": False,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": _LOG_BYTES, "max-file": "1"}},
        "Mounts": [
            {
                "Type": "tmpfs" if mount.source is None else "volume",
                "Target": mount.path,
                "ReadOnly": mount.is_read_only,
                **({} if mount.source is None else {"Source": mount.source}),
            }
            for mount in plan.mounts
        ],
    }
    if gpus:
        host["DeviceRequests"] = [{"Count": gpus, "Capabilities": [["gpu"]]}]
    body: JsonObject = {
        "Image": plan.image,
        "Env": [f"{name}={value}" for name, value in plan.env.items()],
        "Labels": dict(labels_of(plan)),
        "User": ceilings.user,
        # What is removed goes at once: Podman would wait for its signal, Docker doesn't.
        "StopTimeout": 0,
        "HostConfig": host,
    }
    # As in a Pod: `command` is the image's entry point, `args` its arguments.
    if plan.command:
        body["Entrypoint"] = list(plan.command)
    if plan.args or plan.command:
        body["Cmd"] = list(plan.args)
    if plan.working_dir is not None:
        body["WorkingDir"] = plan.working_dir
    return body


def _restarts(plan: Plan) -> JsonObject:
    if plan.restart_policy == "OnFailure" and plan.backoff_limit:
        return {"Name": "on-failure", "MaximumRetryCount": plan.backoff_limit}
    return {"Name": "no"}
