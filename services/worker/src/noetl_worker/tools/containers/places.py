"""The places where containers run, made of the worker's settings."""

from collections.abc import Callable

from lightkube import KubeConfig

from noetl_worker.settings import Settings
from noetl_worker.tools.containers.backend import Backend
from noetl_worker.tools.containers.engine.api import EngineApi
from noetl_worker.tools.containers.engine.backend import EngineBackend
from noetl_worker.tools.containers.engine.body import Ceilings
from noetl_worker.tools.containers.kubernetes.backend import KubernetesBackend
from noetl_worker.tools.containers.plan import KIND

type MakeBackend = Callable[[Settings], Backend]


def an_engine(settings: Settings) -> Backend:
    """Make the backend of a Docker or Podman engine."""
    return EngineBackend(
        EngineApi(settings.container_engine_url),
        pool=settings.pool(),
        ceilings=Ceilings(
            network=settings.container_network,
            pids=settings.container_pids_max,
            user=settings.container_user,
        ),
        pull_seconds=settings.container_pull_seconds,
        log_bytes=settings.container_log_bytes,
    )


def a_cluster(
    settings: Settings, *, kind: str = KIND, log_bytes: int | None = None
) -> KubernetesBackend:
    """Make the backend of a cluster, for the Jobs of one tool."""
    file = settings.container_kubeconfig
    spaces = dict.fromkeys((settings.container_namespace, *settings.container_namespaces))
    return KubernetesBackend(
        (lambda: KubeConfig.from_file(file)) if file else KubeConfig.from_env,
        kind=kind,
        pool=settings.pool(),
        namespaces=tuple(spaces),
        log_bytes=settings.container_log_bytes if log_bytes is None else log_bytes,
        user=settings.container_user,
        node_seconds=settings.container_node_lost_seconds,
    )


BACKENDS: dict[str, MakeBackend] = {"engine": an_engine, "kubernetes": a_cluster}
"""By the setting of the container tool."""
