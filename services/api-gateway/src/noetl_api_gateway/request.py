"""The request as handlers see it."""

from typing import Any

from litestar import Request

__all__ = ["AnyRequest"]

AnyRequest = Request[Any, Any, Any]
"""A request; users, authentication and state are not ours to type."""
