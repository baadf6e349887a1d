"""Kinds of places that rows come from and go to, also those of other packages.

A package brings a kind of place by an entry point of the group ``noetl.transfer_places``, whose
name is the word in ``type``; its factory is called once, when the worker starts.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint
from typing import Literal, Protocol

from noetl_common.process.extensions import extensions
from noetl_contract.json import JsonObject

from noetl_worker.tools.sql.transfer.rows import Plan, Rows
from noetl_worker.tools.sql.transfer.targets import Target, Writing
from noetl_worker.tools.tool import ToolContext, ToolParts

GROUP = "noetl.transfer_places"

type Side = Literal["Source", "Target"]
type PlaceFactory = Callable[[ToolParts], PlaceKind]


class Place(Protocol):
    """One place of one call, with its login."""

    def rows(self, query: str, *, reader: str, size: int) -> AbstractAsyncContextManager[Rows]:
        """Run a query; its rows come in batches of a size.

        Args:
            query: one query, which returns rows.
            reader: kind of the place that the rows go to.
            size: rows of a batch.

        Raises:
            ToolError: it can't be run.
        """

    def target(self, writing: Writing, plan: Plan) -> AbstractAsyncContextManager[Target]:
        """Open a table; written rows stand when the block ends well, else none does.

        Raises:
            ToolError: there is no such table or column, or the place refuses.
        """


class PlaceKind(Protocol):
    """A kind of place."""

    @property
    def title(self) -> str:
        """As messages name it."""

    def located(self, endpoint: JsonObject, *, side: Side, context: ToolContext) -> Place:
        """Read where an endpoint is; nothing is connected.

        Raises:
            ToolError: a field is missing or wrong.
        """


def installed_places(
    parts: ToolParts, *, found: Iterable[EntryPoint] | None = None
) -> dict[str, PlaceKind]:
    """Make the kinds of other packages, by their words.

    Raises:
        BadExtension: two packages bring the same kind, or one can't be loaded.
    """
    places: dict[str, PlaceKind] = {}
    for extension in extensions(GROUP, "place of transfers", found=found):
        factory: PlaceFactory = extension.load()
        places[extension.name] = factory(parts)
    return places
