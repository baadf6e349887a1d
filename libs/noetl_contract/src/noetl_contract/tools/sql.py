"""Kinds `postgres`, `duckdb`, `ducklake` and `transfer`, with the keys of their configurations."""

from noetl_contract.tools.keys import TIMEOUT_SECONDS, KeyType, ToolKey, ToolKind
from noetl_contract.tools.warehouses import LOGIN

_QUERY = ToolKey(
    "query", KeyType.TEXT, "Statements to run.", is_required=True, aliases=("command",)
)
_PARAMS = ToolKey(
    "params",
    KeyType.LIST_OR_MAPPING,
    "Values of `$1`, `$2`, … in a list, or of `$name` by name.",
    default=[],
)
_AS_OBJECTS = ToolKey("as_objects", KeyType.FLAG, "Rows as objects, else as lists.", default=True)
_ADDRESS = (
    ToolKey("connection_string", KeyType.TEXT, "URL, or pairs `host=… user=…`."),
    ToolKey("host", KeyType.TEXT, "Server."),
    ToolKey("port", KeyType.UNSIGNED, "Port.", default=5432),
    ToolKey("user", KeyType.TEXT, "Login.", default="postgres"),
    ToolKey("password", KeyType.TEXT, "Password, or the name of a secret."),
    ToolKey("database", KeyType.TEXT, "Database.", default="postgres"),
    ToolKey("sslmode", KeyType.TEXT, "As PostgreSQL has it.", default="prefer"),
    ToolKey("sslrootcert", KeyType.TEXT, "As PostgreSQL has it."),
    ToolKey("sslcert", KeyType.TEXT, "As PostgreSQL has it."),
    ToolKey("sslkey", KeyType.TEXT, "As PostgreSQL has it."),
    ToolKey("sslcrl", KeyType.TEXT, "As PostgreSQL has it."),
)
_DB_PATH = ToolKey("db_path", KeyType.TEXT, "Path of a database file.", default_text="in memory")

POSTGRES = ToolKind(
    name="postgres",
    description="Runs SQL on a PostgreSQL server.",
    keys=(
        _QUERY,
        _PARAMS,
        *_ADDRESS,
        ToolKey("schema", KeyType.TEXT, "Search path of this call."),
        _AS_OBJECTS,
        TIMEOUT_SECONDS,
    ),
    alternatives=(("connection_string", "host"),),
    by_credential=frozenset({"connection_string", "host"}),
)
_ATTACH = ToolKey(
    "attach",
    KeyType.LIST,
    "Other databases and files of the query.",
    default=[],
    keys=(
        ToolKey("name", KeyType.TEXT, "Name in the query.", is_required=True),
        ToolKey(
            "type",
            KeyType.TEXT,
            "Format.",
            default="duckdb",
            choices=("csv", "duckdb", "json", "parquet", "postgres", "sqlite"),
        ),
        ToolKey("path", KeyType.TEXT, "File; all but `postgres` need it."),
        ToolKey("read_only", KeyType.FLAG, "Whether writing is refused.", default=True),
        *_ADDRESS,
    ),
)
DUCKDB = ToolKind(
    name="duckdb",
    description="Runs SQL in DuckDB.",
    # A credential may bring the login of an attached PostgreSQL server.
    keys=(_QUERY, _PARAMS, _DB_PATH, _ATTACH, _AS_OBJECTS, TIMEOUT_SECONDS, *_ADDRESS),
)
DUCKLAKE = ToolKind(name="ducklake", description="Other name of `duckdb`.", keys=DUCKDB.keys)
_TYPES = ("http", "postgres", "duckdb", "snowflake")
_ENDPOINT = (
    ToolKey(
        "type",
        KeyType.TEXT,
        "Kind of the place.",
        is_required=True,
        aliases=("tool", "kind"),
        choices=_TYPES,
    ),
    ToolKey("connection", KeyType.TEXT, "URL or pairs of `postgres`, path of `duckdb`."),
    ToolKey("auth", KeyType.ANY, "Credential alias."),
    _DB_PATH,
    *_ADDRESS,
    ToolKey("schema", KeyType.TEXT, "Schema of `snowflake`.", default="PUBLIC"),
    *LOGIN,
)
TRANSFER = ToolKind(
    name="transfer",
    description="Copies rows from one place to another.",
    keys=(
        ToolKey(
            "source",
            KeyType.MAPPING,
            "Where rows come from.",
            is_required=True,
            keys=(
                *_ENDPOINT,
                ToolKey("query", KeyType.TEXT, "Query of a database."),
                ToolKey("url", KeyType.TEXT, "Address of `http`."),
                ToolKey("method", KeyType.TEXT, "`POST`, else `GET`.", default="GET"),
                ToolKey("headers", KeyType.MAPPING, "Headers of the request.", default={}),
                ToolKey("params", KeyType.MAPPING, "Parameters of the request.", default={}),
                ToolKey("json", KeyType.ANY, "Body as JSON."),
                ToolKey("form", KeyType.MAPPING, "Body as a form."),
                ToolKey("body", KeyType.ANY, "Body as it is."),
                ToolKey("timeout_seconds", KeyType.UNSIGNED, "Of the request."),
                ToolKey("data_path", KeyType.TEXT, "Dotted path of the rows in the answer."),
            ),
        ),
        ToolKey(
            "target",
            KeyType.MAPPING,
            "Where rows go.",
            is_required=True,
            keys=(
                *_ENDPOINT,
                ToolKey("table", KeyType.TEXT, "Table.", is_required=True),
                ToolKey("mapping", KeyType.TEXTS, "Target columns by source column."),
                ToolKey("key", KeyType.ANY, "Column or columns that `upsert` compares."),
            ),
        ),
        ToolKey(
            "mode",
            KeyType.TEXT,
            "What happens to rows that are there.",
            default="append",
            choices=("append", "replace", "upsert"),
        ),
        ToolKey("chunk_size", KeyType.UNSIGNED, "Rows per statement.", default=1000),
        TIMEOUT_SECONDS,
    ),
)
