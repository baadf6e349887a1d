"""Pieces that the models of several services share."""

from noetl_contract.model import Model


class Nothing(Model):
    """A request without parameters."""
