"""Limits of playbooks' requests about containers: the operator's settings, as checks by name."""

from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

from noetl_worker.settings import Settings
from noetl_worker.tools.containers.plan import GPU, KIND
from noetl_worker.tools.containers.quantities import quantity
from noetl_worker.tools.tool import ToolError

_RESERVED = {"cpu": "100m", "memory": "64Mi"}


@dataclass(frozen=True, slots=True)
class Allowed:
    """The limits of one worker; all checks raise `ToolError`.

    Attributes:
        kind: of the tool, which errors name.
    """

    settings: Settings
    kind: str = KIND

    def image(self, image: str) -> None:
        """Check the image's name."""
        self._in(image, self.settings.container_images, "image", "NOETL_CONTAINER_IMAGES")

    def volume(self, source: str) -> None:
        """Check the name of a volume or claim; a path is refused, even if the patterns allow it."""
        if "/" in source or source.startswith("."):
            raise self._refused(f"volume '{source[:200]}': paths of the host can't be mounted")
        self._in(source, self.settings.container_volumes, "volume", "NOETL_CONTAINER_VOLUMES")

    def service_account(self, name: str) -> None:
        """Check the service account."""
        patterns = self.settings.container_service_accounts
        self._in(name, patterns, "service account", "NOETL_CONTAINER_SERVICE_ACCOUNTS")

    def secret(self, name: str) -> None:
        """Check a Secret of the cluster."""
        self._in(name, self.settings.container_secrets, "secret", "NOETL_CONTAINER_SECRETS")

    def node_label(self, name: str) -> None:
        """Check a label of nodes."""
        patterns = self.settings.container_node_labels
        self._in(name, patterns, "node label", "NOETL_CONTAINER_NODE_LABELS")

    def namespace(self, name: str) -> None:
        """Check the namespace."""
        names = {self.settings.container_namespace, *self.settings.container_namespaces}
        if name not in names:
            raise self._refused(f"namespace '{name[:200]}' is not in NOETL_CONTAINER_NAMESPACES")

    def seconds(self, wanted: int | None, *, name: str) -> int:
        """Return the longest run; without a wish the limit itself."""
        most = self.settings.container_seconds_max
        if wanted is not None and wanted > most:
            text = f"{name} {wanted} is more than NOETL_CONTAINER_SECONDS_MAX, {most}"
            raise self._refused(text)
        return most if wanted is None else max(wanted, 1)

    def limits(self, wanted: dict[str, str]) -> dict[str, str]:
        """Return all limits; amounts that were not asked for are at their most."""
        settings = self.settings
        most = {
            "cpu": (Decimal(str(settings.container_cpu_max)), "NOETL_CONTAINER_CPU_MAX"),
            "memory": (
                Decimal(settings.container_memory_bytes_max),
                "NOETL_CONTAINER_MEMORY_BYTES_MAX",
            ),
        }
        found = {name: str(limit) for name, (limit, _) in most.items()} | wanted
        for name, (limit, setting) in most.items():
            self._at_most(name, found[name], limit, setting)
        if GPU in found:
            gpus = Decimal(settings.container_gpu_max)
            self._at_most("gpu", found[GPU], gpus, "NOETL_CONTAINER_GPU_MAX")
        return found

    def requests(self, wanted: dict[str, str], limits: dict[str, str]) -> dict[str, str]:
        """Return the amounts to reserve in a cluster: a little where the playbook names none.

        Without it a cluster reserves the limit, which is then the most that anybody may have.

        Args:
            wanted: amounts that the playbook reserves.
            limits: those that it limits.
        """
        settings = self.settings
        most = {
            "cpu": Decimal(str(settings.container_cpu_max)),
            "memory": Decimal(settings.container_memory_bytes_max),
        }
        little = {
            name: amount if quantity(amount) <= most[name] else str(most[name])
            for name, amount in _RESERVED.items()
            if name not in limits
        }
        return little | wanted

    def _at_most(self, name: str, wanted: str, limit: Decimal, setting: str) -> None:
        try:
            amount = quantity(wanted)
        except ValueError as error:
            raise self._refused(f"{name}: {error}") from error
        if amount > limit:
            raise self._refused(f"{name} {wanted} is more than {setting}, {limit}")

    def _in(self, name: str, patterns: tuple[str, ...], what: str, setting: str) -> None:
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            raise self._refused(f"{what} '{name[:200]}' is not allowed by {setting}")

    def _refused(self, text: str) -> ToolError:
        return refused(text, kind=self.kind)


def refused(text: str, *, kind: str = KIND) -> ToolError:
    """Return the refusal of a playbook's wish."""
    return ToolError("Configuration error", f"{kind}: {text}")
