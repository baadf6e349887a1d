"""The empty request."""

from noetl_contract.model import Struct


class Nothing(Struct):
    """A request without parameters."""
