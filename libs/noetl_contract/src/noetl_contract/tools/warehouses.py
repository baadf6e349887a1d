"""Kind `snowflake`, which a package of its own brings, with the keys of its configuration."""

from noetl_contract.tools.keys import TIMEOUT_SECONDS, KeyType, ToolKey, ToolKind

LOGIN = (
    ToolKey("account", KeyType.TEXT, "Account, as `organization-name` or the locator."),
    ToolKey("private_key", KeyType.TEXT, "Private key in PEM, for a login by key pair."),
    ToolKey("public_key", KeyType.TEXT, "Its public key in PEM, only compared with it."),
    ToolKey("private_key_passphrase", KeyType.TEXT, "Passphrase of an encrypted private key."),
    ToolKey("warehouse", KeyType.TEXT, "Warehouse.", default="COMPUTE_WH"),
    ToolKey("role", KeyType.TEXT, "Role.", default_text="the user's own"),
    ToolKey("protocol", KeyType.TEXT, "`http` for a server of the operator's without TLS."),
)
"""Keys of a Snowflake login beside those of other databases."""

SNOWFLAKE = ToolKind(
    name="snowflake",
    description="Runs SQL in Snowflake.",
    keys=(
        ToolKey("query", KeyType.TEXT, "Statements to run; the last one's result is the call's."),
        ToolKey("command", KeyType.TEXT, "Statements to run, each with a result of its own."),
        ToolKey(
            "command_b64",
            KeyType.TEXT,
            "The same in base64; counts before `command`.",
            aliases=("commands_b64",),
        ),
        ToolKey("commands", KeyType.TEXT_LIST, "The same as a list."),
        ToolKey(
            "params",
            KeyType.LIST_OR_MAPPING,
            "Values of `$1`, `$2`, … or `?` in a list, or of `$name` by name; for `query`.",
            default=[],
        ),
        *LOGIN,
        ToolKey("user", KeyType.TEXT, "Login."),
        ToolKey("password", KeyType.TEXT, "Password, for a login without a key pair."),
        ToolKey("database", KeyType.TEXT, "Database.", default_text="the user's own"),
        ToolKey("schema", KeyType.TEXT, "Schema.", default="PUBLIC"),
        ToolKey("host", KeyType.TEXT, "Server.", default_text="that of the account"),
        ToolKey("port", KeyType.UNSIGNED, "Port.", default=443),
        ToolKey("as_objects", KeyType.FLAG, "Rows as objects, else as lists.", default=True),
        TIMEOUT_SECONDS,
    ),
    alternatives=(
        ("query", "command", "command_b64", "commands_b64", "commands"),
        ("account",),
        ("user",),
    ),
    by_credential=frozenset({"account", "user"}),
    package="noetl-tool-snowflake",
)
