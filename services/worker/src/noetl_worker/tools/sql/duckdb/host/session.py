"""One connection to a database, used by one call of a tool from beginning to end."""

import socket
import threading
from collections.abc import Callable

import duckdb
from noetl_contract.json import Json, JsonObject

from noetl_worker.hosting.host.wire import read_frame, write_frame
from noetl_worker.tools.errors import ToolError
from noetl_worker.tools.sql.duckdb.host import opening
from noetl_worker.tools.sql.duckdb.host.errors import duckdb_errors
from noetl_worker.tools.sql.duckdb.host.scripts import run_script
from noetl_worker.tools.sql.duckdb.host.tables import TableReader, TableWriter
from noetl_worker.tools.sql.duckdb.host.wire import (
    SPARE_BYTES,
    decoded,
    encoded,
    error_answer,
)


class HostSession:
    """Answer the requests of one call, until it leaves.

    Args:
        given: the socket of the requests.
        on_end: called when the session is over.
    """

    def __init__(self, given: socket.socket, *, on_end: Callable[[], object]) -> None:
        self._socket = given
        self._on_end = on_end
        self._connection: opening.Connection | None = None
        self._reader: TableReader | None = None
        self._writer: TableWriter | None = None
        self._most_bytes = 0
        self._operations: dict[str, Callable[[JsonObject], Json]] = {
            "open": self._open,
            "script": lambda request: run_script(self._opened(), request),
            "read": self._read,
            "fetch": self._fetch,
            "into": self._into,
            "write": self._write,
            "commit": self._commit,
            "close": self._close,
        }

    def start(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self._live, daemon=True).start()

    def interrupt(self) -> None:
        """Stop the statement that runs, if there is one."""
        if self._connection is not None:
            self._connection.interrupt()

    def _live(self) -> None:
        try:
            with self._socket:
                while (frame := read_frame(self._socket.fileno())) is not None:
                    is_large, data = frame
                    write_frame(self._socket, *self._answer(decoded(data, is_large=is_large)))
        except OSError:
            pass  # the worker has left
        finally:
            if self._connection is not None:
                self._connection.close()
            self._on_end()

    def _answer(self, request: JsonObject) -> tuple[bool, bytes]:
        try:
            value = self._operations[request["do"]](request)
            return self._bounded(*encoded({"value": value}))
        except ToolError as error:
            return encoded(error_answer(error))
        except (duckdb.Error, RuntimeError, ValueError) as error:
            return encoded(error_answer(ToolError("Database error", f"Query failed: {error}")))
        except MemoryError:
            return encoded(
                error_answer(
                    ToolError("Database error", "Query failed: its process has no more memory")
                )
            )

    def _bounded(self, is_large: bool, data: bytes) -> tuple[bool, bytes]:  # noqa: FBT001  a frame
        # One result may be as large, and its columns come on top.
        most = self._most_bytes + SPARE_BYTES
        if len(data) > most:
            raise ToolError(
                "Database error",
                f"Query failed: {len(data)} bytes at once, more than {most} "
                "(NOETL_WORKER_SQL_RESULT_BYTES); a smaller `chunk_size` makes smaller batches",
            )
        return is_large, data

    def _opened(self) -> opening.Connection:
        if self._connection is None:
            raise RuntimeError("no database is open")
        return self._connection

    def _open(self, request: JsonObject) -> Json:
        self._most_bytes = request["most_bytes"]
        # Known at once, so that it can be interrupted.
        connection = self._connection = opening.connect(request["path"], request["config"])
        opening.attach_servers(connection, request["attach"])
        if request["confine"] is not None:
            opening.confine(connection, request["confine"])
        return None

    def _read(self, request: JsonObject) -> Json:
        self._reader = TableReader(self._opened(), request)
        return self._reader.answer

    def _fetch(self, request: JsonObject) -> Json:
        if self._reader is None:
            raise RuntimeError("nothing is read")
        return self._reader.fetch(request["size"])

    def _into(self, request: JsonObject) -> Json:
        self._writer = TableWriter(self._opened(), request)
        return self._writer.answer

    def _write(self, request: JsonObject) -> Json:
        if self._writer is None:
            raise RuntimeError("nothing is written")
        self._writer.write(request["columns"])
        return None

    def _commit(self, _request: JsonObject) -> Json:
        if self._writer is None:
            raise RuntimeError("nothing is written")
        self._writer.commit()
        return None

    def _close(self, _request: JsonObject) -> Json:
        connection, self._connection = self._connection, None
        if connection is not None:
            with duckdb_errors("Failed to close database"):
                connection.close()
        return None
