"""Fields common to the configurations of the database tools."""

from noetl_contract.json import Json
from noetl_pg.sql.text import numbered

from noetl_worker.tools.fields import Fields

_LARGEST_PORT = 65535


class SqlFields(Fields):
    """A configuration with a query."""

    def query(self) -> str:
        """Return the required ``query``, also known as ``command``."""
        if "command" not in self.config:
            return self.text("query")
        if "query" in self.config:
            raise self.refuse("duplicate field `query`")
        return self.text("command")

    def bound_query(self) -> tuple[str, list[Json]]:
        """Return the query with `$1`, `$2`, … as its placeholders, and the values for them."""
        query, params = self.query(), self.config.get("params", [])
        if isinstance(params, list):
            return query, params
        if not isinstance(params, dict):
            raise self.refuse("`params` is neither a list nor a map")
        try:
            return numbered(query, params)
        except KeyError as error:
            raise self.refuse(f"`params` has no value for `${error.args[0]}`") from error

    def items(self, name: str) -> list[Json]:
        """Return a list, empty if absent."""
        value = self.config.get(name, [])
        if not isinstance(value, list):
            raise self.refuse(f"`{name}` is not a list")
        return value

    def port(self, name: str) -> int | None:
        """Return a port, or None if it is absent or null."""
        value = self.optional_unsigned(name)
        if value is not None and value > _LARGEST_PORT:
            raise self.refuse(f"invalid value: integer `{value}`, expected u16")
        return value

    def login(self, name: str) -> str | None:
        """Return a string that a template may have made a number, as with digits alone."""
        value = self.config.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        return self.optional_text(name)
