"""Settings of the container tool: its backend, and limits of playbooks' requests."""

import re
from typing import Annotated, Literal

from noetl_common.environment.pieces import SettingsPiece
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

_MEBIBYTE = 1 << 20


class ContainerSettings(SettingsPiece):
    """The worker's settings for containers; composed by inheritance."""

    container_backend: Literal["", "engine", "kubernetes"] = ""
    """Where containers of playbooks run: `engine`, a Docker or Podman socket; `kubernetes`, Jobs;
    empty: this worker runs none."""
    container_engine_url: str = "unix:///var/run/docker.sock"
    """The engine's API: `unix://` with a socket's path, or an http address."""
    container_kubeconfig: str = ""
    """File of the cluster's address and login; empty: the pod's service account, else
    `KUBECONFIG`."""
    container_namespace: str = "noetl"
    """Namespace of Jobs that name none."""
    container_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    """Further namespaces, by commas, that playbooks may name."""
    container_images: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Patterns, by commas, of the images that playbooks may run, as
    `registry.example.org/team/*`."""
    container_service_accounts: Annotated[tuple[str, ...], NoDecode] = ()
    """Patterns, by commas, of service accounts that playbooks may name; without one a pod has no
    token."""
    container_secrets: Annotated[tuple[str, ...], NoDecode] = ()
    """Patterns, by commas, of Kubernetes Secrets that `value_from` may name."""
    container_volumes: Annotated[tuple[str, ...], NoDecode] = ()
    """Patterns, by commas, of named volumes or claims that playbooks may mount. Paths of the host
    never."""
    container_node_labels: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Patterns, by commas, of labels that `node_selector` may name."""
    container_network: str = "bridge"
    """The engine's network for containers, as `none`; never the host's."""
    container_user: str = ""
    """Number of the user, or `user:group`, that containers run as; empty: the image's own."""
    container_memory_bytes_max: int = Field(default=2048 * _MEBIBYTE, ge=_MEBIBYTE)
    """Memory that a container may ask for, and has when it asks for none."""
    container_cpu_max: float = Field(default=2.0, gt=0)
    """Cores that a container may ask for, and has likewise."""
    container_gpu_max: int = Field(default=0, ge=0)
    """GPUs that a container may ask for."""
    container_pids_max: int = Field(default=1024, ge=1)
    """Processes of a container of the engine."""
    container_seconds_max: int = Field(default=21_600, ge=1)
    """Seconds that a container may ask for, and has when it asks for none."""
    container_pull_seconds: float = Field(default=600.0, gt=0)
    """Seconds until an image that doesn't come counts as a failed pull."""
    container_node_lost_seconds: float = Field(default=300.0, gt=0)
    """Seconds that a cluster's node may be silent before the containers on it count as lost."""
    container_ttl_seconds: int = Field(default=300, ge=0)
    """Seconds that an ended container is kept for looking at, unless its step says."""
    container_log_bytes: int = Field(default=32 << 10, ge=0)
    """End of a container's output in the step's result."""
    container_poll_seconds: float = Field(default=300.0, gt=0)
    """Seconds between looks at all containers, beside the watch."""
    container_takeover_seconds: float = Field(default=30.0, ge=0)
    """How long after its end a container that another worker has started, and not reported, is
    reported by this one."""

    @field_validator(
        "container_namespaces",
        "container_images",
        "container_service_accounts",
        "container_secrets",
        "container_volumes",
        "container_node_labels",
        mode="before",
    )
    @classmethod
    def _split_patterns(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("container_user")
    @classmethod
    def _check_user(cls, value: str) -> str:
        if value and re.fullmatch(r"[0-9]{1,10}(:[0-9]{1,10})?", value) is None:
            raise ValueError("a number, or two with a colon between them")
        return value

    @field_validator("container_network")
    @classmethod
    def _check_network(cls, value: str) -> str:
        if value == "host" or value.startswith(("container:", "ns:")):
            raise ValueError("containers of playbooks never share another network stack")
        return value
