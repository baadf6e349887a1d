"""The lock of resolved requirements, as stored with a version of a playbook."""

import hashlib

from pydantic import StrictStr

from noetl_contract.model import Model, example


class LibraryLock(Model):
    """Exact versions with hashes, or the reason why there are none.

    Both are null where the version was registered without them: its scripts run as ever.
    """

    model_config = example(
        lock=f"six==1.17.0 --hash=sha256:{'4721f391' * 8}\n",
        python="3.13",
        reason=None,
    )

    lock: StrictStr | None = None
    """Lines as pip and uv read them, each with its hashes."""
    python: StrictStr | None = None
    """Version of Python that it was resolved for."""
    reason: StrictStr | None = None
    """Reason why it could not be resolved when the version was registered."""

    @property
    def digest(self) -> str:
        """The hash of the lock, by which workers know environments."""
        return hashlib.sha256(f"{self.python}\n{self.lock}".encode()).hexdigest()
