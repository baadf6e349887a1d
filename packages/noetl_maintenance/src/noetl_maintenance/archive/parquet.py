"""CSV as PostgreSQL writes and reads it, to Parquet and back, by DuckDB."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
from noetl.stack.errors import StackError

# Everything else is text, as PostgreSQL writes it: JSON, bytes in hexadecimal digits, arrays.
_TYPES: Mapping[str, str] = {
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "smallint": "SMALLINT",
    "boolean": "BOOLEAN",
    "double precision": "DOUBLE",
    "timestamp with time zone": "TIMESTAMPTZ",
    "timestamp without time zone": "TIMESTAMP",
    "date": "DATE",
}
_LONGEST_LINE = 1 << 30
_MEMORY = "1GB"


@contextmanager
def opened(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that sorts on disk and knows no extension."""
    with closing(duckdb.connect()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {_text(scratch)}")
        connection.execute("SET autoload_known_extensions = false")
        connection.execute("SET threads = 1")
        connection.execute("SET preserve_insertion_order = true")
        try:
            yield connection
        except duckdb.Error as error:
            raise StackError(f"Parquet: {' '.join(str(error).split())[:300]}") from error


def write(
    duck: duckdb.DuckDBPyConnection, source: Path, target: Path, columns: Mapping[str, str]
) -> int:
    """Turn a CSV file with a header into a Parquet file; return the number of rows."""
    types = ", ".join(
        f"{_text(name)}: {_text(_TYPES.get(kind, 'VARCHAR'))}" for name, kind in columns.items()
    )
    row = duck.execute(
        f"COPY (SELECT * FROM read_csv({_text(source)}, columns = {{{types}}}, "
        "auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
        "nullstr = '', allow_quoted_nulls = false, parallel = false, "
        f"max_line_size = {_LONGEST_LINE})) TO {_text(target)} "
        "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)"
    ).fetchone()
    return 0 if row is None else int(row[0])


def read(
    duck: duckdb.DuckDBPyConnection, source: Path, target: Path, *, owner: str, ids: list[int]
) -> int:
    """Turn the rows of some executions into a CSV file without a header; return their number."""
    wanted = ", ".join(map(str, ids))
    row = duck.execute(
        f"COPY (SELECT * FROM read_parquet({_text(source)}) WHERE {owner} IN ({wanted})) "
        f"TO {_text(target)} (FORMAT csv, HEADER false, NULLSTR '', FORCE_QUOTE *)"
    ).fetchone()
    return 0 if row is None else int(row[0])


def rows(
    duck: duckdb.DuckDBPyConnection, source: Path, columns: str, *, order: str
) -> Iterator[tuple[object, ...]]:
    """Yield columns of the rows of a Parquet file in an order."""
    cursor = duck.execute(f"SELECT {columns} FROM read_parquet({_text(source)}) ORDER BY {order}")
    while page := cursor.fetchmany(500):
        yield from page


def _text(value: str | Path) -> str:
    return "'" + str(value).replace("'", "''") + "'"
