"""Kinds `http`, `nats` and `mcp`, with the keys of their configurations."""

from noetl_contract.tools.keys import KeyType, ToolKey, ToolKind, Variants

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

HTTP = ToolKind(
    name="http",
    description="Sends a request; with `retry` rules as many as they say.",
    keys=(
        ToolKey("url", KeyType.TEXT, "Address.", is_required=True),
        ToolKey("method", KeyType.TEXT, "Method.", default="GET", choices=_METHODS),
        ToolKey("headers", KeyType.MAPPING, "Headers.", default={}),
        ToolKey("params", KeyType.MAPPING, "Query parameters.", default={}),
        ToolKey("json", KeyType.ANY, "Body as JSON."),
        ToolKey("form", KeyType.MAPPING, "Body as a form."),
        ToolKey("body", KeyType.ANY, "Body: a text as it is, anything else as JSON."),
        ToolKey(
            "timeout_seconds",
            KeyType.UNSIGNED,
            "For the whole request.",
            default_text="the tool's `timeout`, else 30",
        ),
        ToolKey(
            "response_type",
            KeyType.TEXT,
            "How the body is read.",
            default="json",
            choices=("json", "text", "binary"),
        ),
        ToolKey("follow_redirects", KeyType.FLAG, "Redirects are always followed.", default=True),
    ),
)
_KEY = ("bucket", "key")
_OBJECT = ("bucket", "name")
NATS = ToolKind(
    name="nats",
    description="Reads and writes keys, objects and streams of a NATS server.",
    keys=(
        ToolKey("operation", KeyType.TEXT, "The operation.", is_required=True),
        ToolKey("url", KeyType.TEXT, "Server, or a comma list of servers.", is_required=True),
        ToolKey("token", KeyType.TEXT, "Token, or the name of a secret."),
        ToolKey("user", KeyType.TEXT, "Login."),
        ToolKey("password", KeyType.TEXT, "Password, or the name of a secret."),
        ToolKey("bucket", KeyType.TEXT, "Bucket of keys or objects."),
        ToolKey("key", KeyType.TEXT, "Key."),
        ToolKey("value", KeyType.ANY, "Value of the key."),
        ToolKey("pattern", KeyType.TEXT, "Keys that are listed, with `*`."),
        ToolKey("name", KeyType.TEXT, "Object."),
        ToolKey("data", KeyType.ANY, "Content of the object or message."),
        ToolKey(
            "encoding",
            KeyType.TEXT,
            "Form of an object's content.",
            default="utf-8",
            choices=("utf-8", "base64"),
        ),
        ToolKey("description", KeyType.TEXT, "Description of the object."),
        ToolKey("subject", KeyType.TEXT, "Subject."),
        ToolKey("headers", KeyType.TEXTS, "Headers of the message.", default={}),
        ToolKey("messages_from", KeyType.TEXT, "Dotted path of a list of messages."),
        ToolKey("id_field", KeyType.TEXT, "Key of a message's id.", default="id"),
        ToolKey("data_field", KeyType.TEXT, "Key of a message's data.", default="data"),
        ToolKey("stream", KeyType.TEXT, "Stream."),
        ToolKey("consumer", KeyType.TEXT, "Consumer."),
        ToolKey("batch", KeyType.UNSIGNED, "Most messages of one read."),
        ToolKey("timeout_ms", KeyType.UNSIGNED, "Longest wait for the first message."),
        ToolKey("ack", KeyType.FLAG, "Whether messages are acknowledged.", default=True),
        ToolKey("seq", KeyType.UNSIGNED, "Position in the stream."),
        ToolKey("last", KeyType.FLAG, "Read the newest message.", default=False),
    ),
    by_credential=frozenset({"url"}),
    variants=Variants(
        "operation",
        {
            "kv_get": _KEY,
            "kv_put": (*_KEY, "value"),
            "kv_delete": _KEY,
            "kv_purge": _KEY,
            "kv_keys": ("bucket",),
            "object_get": _OBJECT,
            "object_put": (*_OBJECT, "data"),
            "object_delete": _OBJECT,
            "object_list": ("bucket",),
            "object_info": _OBJECT,
            "js_publish": ("subject", "data"),
            "js_publish_many": ("messages_from",),
            "js_consume": ("stream", "consumer"),
            "js_get_msg": ("stream",),
            "js_stream_info": ("stream",),
        },
    ),
)
SUBSCRIPTION = ToolKind(
    name="subscription",
    description="Takes messages from a source once, as many as there are up to a bound.",
    keys=(
        ToolKey(
            "source",
            KeyType.TEXT,
            "Kind of the source.",
            is_required=True,
            choices=("nats", "kafka", "rabbitmq", "redis", "pubsub"),
        ),
        ToolKey("operation", KeyType.TEXT, "The operation.", default="poll", choices=("poll",)),
        ToolKey("batch", KeyType.UNSIGNED, "Most messages, 1 to 1000.", default=100),
        ToolKey(
            "timeout_ms",
            KeyType.UNSIGNED,
            "Longest wait for the first message, up to 5000.",
            default=1000,
        ),
        ToolKey(
            "ack",
            KeyType.ANY,
            "`on_success` or `auto` settles what was taken, `manual` leaves it taken, `none` and "
            "`peek` hand it back; true and false are `on_success` and `manual`.",
            default="on_success",
        ),
        ToolKey("url", KeyType.TEXT, "Server of nats, rabbitmq and redis."),
        ToolKey("user", KeyType.TEXT, "Login.", aliases=("username",)),
        ToolKey("password", KeyType.TEXT, "Password, or the name of a secret."),
        ToolKey("token", KeyType.TEXT, "Token, or the name of a secret."),
        ToolKey("stream", KeyType.TEXT, "Stream of nats or redis."),
        ToolKey("consumer", KeyType.TEXT, "Durable of nats, name among the readers of redis."),
        ToolKey("subject", KeyType.TEXT, "Subject of nats, where there is no stream."),
        ToolKey("group", KeyType.TEXT, "Group of readers of kafka or redis."),
        ToolKey(
            "claim_idle_ms", KeyType.UNSIGNED, "Rest after which redis hands on.", default=60000
        ),
        ToolKey("queue", KeyType.TEXT, "Queue of rabbitmq."),
        ToolKey("topic", KeyType.TEXT, "Topic of kafka."),
        ToolKey("brokers", KeyType.ANY, "Servers of kafka: a list, or a text with commas."),
        ToolKey("security_protocol", KeyType.TEXT, "Of kafka.", default="PLAINTEXT"),
        ToolKey("sasl_mechanism", KeyType.TEXT, "Of kafka, with a user.", default="PLAIN"),
        ToolKey("subscription", KeyType.TEXT, "`projects/<p>/subscriptions/<s>` of pubsub."),
        ToolKey(
            "endpoint",
            KeyType.TEXT,
            "Server of pubsub.",
            default_text="PUBSUB_EMULATOR_HOST, then Google's",
        ),
    ),
    by_credential=frozenset({"url", "brokers", "subscription"}),
    variants=Variants(
        "source",
        {
            "nats": ("url",),
            "kafka": ("brokers", "topic", "group"),
            "rabbitmq": ("url", "queue"),
            "redis": ("url", "stream", "group"),
            "pubsub": ("subscription",),
        },
    ),
)
MCP = ToolKind(
    name="mcp",
    description="Calls a Model Context Protocol server.",
    keys=(
        ToolKey(
            "endpoint",
            KeyType.TEXT,
            "Address of the server.",
            default_text="NOETL_MCP_<SERVER>_ENDPOINT, then NOETL_MCP_URL of the worker",
            aliases=("url", "server_url", "base_url"),
        ),
        ToolKey(
            "server", KeyType.TEXT, "Name of the server.", default="kubernetes", aliases=("name",)
        ),
        ToolKey("method", KeyType.TEXT, "Any method.", default="tools/call", aliases=("action",)),
        ToolKey("tool", KeyType.TEXT, "Tool that `tools/call` calls.", aliases=("tool_name",)),
        ToolKey("arguments", KeyType.ANY, "Its arguments.", default={}, aliases=("args",)),
        ToolKey("params", KeyType.ANY, "Parameters of other methods."),
        ToolKey("request_id", KeyType.UNSIGNED, "Number of the first request.", default=1),
        ToolKey("protocol_version", KeyType.TEXT, "Told at the start.", default="2025-03-26"),
        ToolKey("client_name", KeyType.TEXT, "Told at the start.", default="noetl-worker"),
        ToolKey("client_version", KeyType.TEXT, "Told at the start.", default="0"),
        ToolKey("capabilities", KeyType.MAPPING, "Told at the start.", default={}),
        ToolKey(
            "timeout",
            KeyType.NUMBER,
            "Seconds of one request, in pipelines.",
            default_text="NOETL_MCP_REQUEST_TIMEOUT_SECONDS",
        ),
    ),
)
