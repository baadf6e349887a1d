"""The empty request."""

from noetl_contract.model import Model


class Nothing(Model):
    """A request without parameters."""
