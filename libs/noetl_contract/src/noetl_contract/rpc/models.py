"""Base settings of request models, and the empty request."""

from noetl_contract.model import Model


class Nothing(Model):
    """A request without parameters."""
