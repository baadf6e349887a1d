"""The mappings of these documents as data, for the linter and the schema."""

from typing import Final

from noetl_contract.subscriptions.document import SubscriptionSpec
from noetl_contract.tools import TOOLS

from noetl_engine.playbook.levels import (
    BOOLEAN,
    INTEGER,
    OBJECT,
    STRING,
    TEXT,
    Key,
    Level,
    Schema,
    list_of,
    one_of,
    reference,
)
from noetl_engine.triggers.ended import STATUSES

DOCUMENT_VERSION: Final = Key("Version of the language.", {"enum": ["noetl.io/v1", "noetl.io/v2"]})
DOCUMENT_METADATA: Final = Key("Name and catalog path.", reference("Metadata"), is_required=True)
METADATA: Final = Level(
    doc="Name and catalog path; one of them is needed.",
    is_open=True,
    keys={
        "name": Key("Name of the document.", TEXT),
        "path": Key("Catalog path; the name if absent.", TEXT),
        "description": Key("For readers.", TEXT),
        "labels": Key("Labels kept with the catalog entry.", OBJECT),
    },
)

TRIGGER: Final = Level(
    doc="What the end of executions starts or calls.",
    keys={
        "apiVersion": DOCUMENT_VERSION,
        "kind": Key("Kind of the document.", {"const": "Trigger"}, is_required=True),
        "metadata": DOCUMENT_METADATA,
        "spec": Key("Which ends, and what then.", reference("TriggerSpec"), is_required=True),
    },
)
TRIGGER_LEVELS: Final = {
    "Metadata": METADATA,
    "TriggerSpec": Level(
        doc="Which ends of executions count, and what they start or call.",
        keys={
            "on": Key("Which ends count.", reference("On"), is_required=True),
            "start": Key("What is started.", reference("Start")),
            "webhook": Key(
                "What is called.", {"anyOf": [{"type": "string"}, reference("Webhook")]}
            ),
        },
    ),
    "On": Level(
        doc="Which ends of executions count.",
        keys={
            "ended": Key(
                "Statuses at the end; ERRORS is completed with soft errors.",
                {"anyOf": [one_of(*STATUSES), list_of(one_of(*STATUSES))]},
                is_required=True,
            ),
            "under": Key("Beginning of the playbooks' paths; all if absent.", STRING),
            "children": Key("Whether executions with a parent count; true if absent.", BOOLEAN),
        },
    ),
    "Start": Level(
        doc="What is started.",
        keys={
            "playbook": Key("Catalog path of the playbook.", STRING, is_required=True),
            "version": Key("Version of it; the newest if absent.", INTEGER),
            "payload": Key("Its payload, beside `ended`.", OBJECT),
        },
    ),
    "Webhook": Level(
        doc="An address that is called.",
        keys={
            "url": Key("Where, http or https.", STRING, is_required=True),
            "auth": Key("Alias of a credential.", STRING),
        },
    ),
}

_MODE: Final = Key(
    "Whether a runtime reads the source (pull) or an edge listens (push).",
    one_of("pull", "push"),
    is_required=True,
)
SUBSCRIPTION: Final = Level(
    doc="Messages or deliveries that start executions.",
    keys={
        "apiVersion": DOCUMENT_VERSION,
        "kind": Key("Kind of the document.", {"const": "Subscription"}, is_required=True),
        "metadata": DOCUMENT_METADATA,
        "spec": Key("The source, and what it starts.", is_required=True),
    },
)
_INGRESS: Final = Level(
    doc="Where an edge listens, and how it knows the sender.",
    keys={
        "gateway_path": Key(
            "Path that begins with `/`; its last segment names the listener.", STRING,
            is_required=True,
        ),
        "verify": Key("How a delivery proves its origin.", reference("Verify"), is_required=True),
    },
)  # fmt: skip
_VERIFY: Final = Level(
    doc="How a delivery proves its origin.",
    keys={
        "type": Key("The proof.", one_of("hmac_sha256", "bearer", "pubsub_oidc"), is_required=True),
        "header": Key("Header that carries it.", STRING),
        "secret": Key("Alias of the credential with the secret.", STRING),
        "timestamp_header": Key("Header with the time that is signed.", STRING),
        "tolerance_seconds": Key("How old that may be; 300 if absent.", INTEGER),
        "signed": Key("What is signed; holds `{body}`.", STRING),
        "encoding": Key("Of the signature; hex if absent.", one_of("hex", "base64")),
        "audience": Key("That of the token.", STRING),
        "service_account": Key("Account that signed it.", STRING),
    },
)
INGRESS_LEVELS: Final = {"Ingress": _INGRESS, "Verify": _VERIFY, "Metadata": METADATA}


def subscription_spec() -> tuple[Schema, dict[str, Schema]]:
    """Return the schema of a subscription's ``spec``, and the schemas that it refers to."""
    made = SubscriptionSpec.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Schema] = made.pop("$defs")
    connection: Schema = {
        name: {"description": key.description}
        for key in TOOLS["subscription"].keys
        for name in key.names
    }
    properties: Schema = {
        **connection,
        **made["properties"],
        "mode": {"description": _MODE.doc, **_MODE.schema},
        "activation": {
            "description": "When a runtime reads; continuous if absent.",
            **one_of("continuous", "scheduled"),
        },
        "ingress": reference("Ingress"),
    }
    return {**made, "properties": properties, "required": ["source", "mode", "dispatch"]}, (
        definitions
    )
