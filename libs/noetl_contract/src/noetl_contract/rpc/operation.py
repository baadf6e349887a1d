"""Typed operations of request/reply: one record that client and server share.

An operation is declared once in ``noetl_contract.rpc.<service>``. It names the subject, the
model of the request and the type of the answer; both sides take these from it, so a field
renamed in a model fails the type check of both.
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

import orjson
from pydantic import BaseModel, TypeAdapter

from noetl_contract.json import Json
from noetl_contract.model import Shape, Struct
from noetl_contract.subjects import rpc_subject

type ServiceName = Literal["catalog", "orchestrator", "outbox", "projector"]
type Scope = Literal["cluster", "shard"]


@dataclass(frozen=True, eq=False)
class Operation[Request: Shape, Answer]:
    """One kind of request, and its answer; the text below a declaration is its summary.

    Attributes:
        service: the service that answers.
        name: the last part of the subject, such as ``vars.list``.
        request: the model of the request.
        answer: the type of the body of a 200, or its adapter where the type is a union.
        repeatable: whether the request may be sent again when no answer came.
        is_secret: whether the answer may hold a secret, and so is sealed for who asks.
        is_busy: whether it is asked for with every command or start, or again and again by
            clients; it is served without a framework (ADR 0005).
    """

    service: ServiceName
    name: str
    request: type[Request]
    answer: type[Answer] | TypeAdapter[Answer]
    repeatable: bool = field(default=True, kw_only=True)
    is_secret: bool = field(default=False, kw_only=True)
    is_busy: bool = field(default=False, kw_only=True)

    @property
    def scope(self) -> Scope:
        """Whether one service answers for the cluster or one for each shard."""
        return "cluster" if self.service == "catalog" else "shard"

    def subject(self, shard: int | None = None) -> str:
        """Return the subject of the operation, on one shard where the scope is ``shard``.

        Raises:
            ValueError: the scope needs a shard, or has none.
        """
        if (shard is None) != (self.scope == "cluster"):
            raise ValueError(f"{self.service} {self.name} is of scope {self.scope}, shard {shard}")
        return rpc_subject(self.service, self.name, shard=shard)

    @cached_property
    def answers(self) -> TypeAdapter[Answer]:
        """The compiled validator of the answer, made at first use."""
        return self.answer if isinstance(self.answer, TypeAdapter) else TypeAdapter(self.answer)

    def decode_request(self, data: bytes) -> Request:
        """Decode a request; an empty one counts as an empty object.

        Raises:
            ValueError: it is no JSON (``orjson.JSONDecodeError``) or has the wrong shape
                (``pydantic.ValidationError``, ``msgspec.ValidationError``).
        """
        if issubclass(self.request, Struct):
            return self.request.from_json(data or b"{}")
        return self.request.model_validate(orjson.loads(data or b"{}"))

    def decode_answer(self, body: bytes) -> Answer:
        """Build the answer from the body of a reply.

        Raises:
            ValueError: it has the wrong shape.
        """
        if isinstance(self.answer, type) and issubclass(self.answer, Struct):
            return self.answer.from_json(body)
        return self.answers.validate_json(bytes(body))

    def encode_answer(self, answer: Answer) -> bytes:
        """Encode an answer; keys that its models were made without are absent."""
        return encode_value(answer)


def encode_value(value: Json) -> bytes:
    """Encode structs and models, and lists and maps of them; unset fields are absent.

    orjson writes the fields of models four times faster than pydantic does when they hold free
    JSON. Values that orjson refuses, such as integers beyond 64 bits, take pydantic's encoder.

    Raises:
        ValueError: pydantic cannot encode the value either.
    """
    if isinstance(value, Struct):
        return value.to_json()
    try:
        return orjson.dumps(value, default=_fields)
    except TypeError:
        return _JSON.dump_json(value, exclude_unset=True, by_alias=True)


def _fields(value: object) -> dict[str, Json]:
    if isinstance(value, Struct):
        return value.plain()
    if isinstance(value, BaseModel):
        names = _names(type(value))
        fields = value.__dict__
        return {names[name]: fields[name] for name in names if name in value.model_fields_set}
    raise TypeError(f"{type(value).__name__} is not JSON")


@lru_cache(maxsize=1024)
def _names(model: type[BaseModel]) -> dict[str, str]:
    return {name: field.serialization_alias or name for name, field in model.model_fields.items()}


_JSON: TypeAdapter[Json] = TypeAdapter(Json)
