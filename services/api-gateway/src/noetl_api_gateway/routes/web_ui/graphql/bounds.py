"""How much one document of GraphQL may ask: each bound is told by name when it is broken."""

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    SelectionSetNode,
    Visitor,
    parse,
    validate,
    visit,
)
from graphql.language import Node

LONGEST = 20_000
"""Characters of a document."""
MOST_TOKENS = 2_000
MOST_FIELDS = 200
MOST_ALIASES = 10
"""So many times one document may do the same, such as start an execution."""
DEEPEST = 15
"""As deep as tools ask for the schema."""


def checked(schema: GraphQLSchema, source: str) -> DocumentNode:
    """Return a document that is within the bounds and fits the schema.

    Raises:
        GraphQLError: it is not; the first reason.
    """
    if len(source) > LONGEST:
        raise GraphQLError(f"The query has {len(source)} characters, at most {LONGEST} are taken")
    document = parse(source, max_lexical_tokens=MOST_TOKENS, max_comments=MOST_TOKENS)
    count = _Count()
    visit(document, count)
    for number, most, what in (
        (count.deepest, DEEPEST, "levels deep"),
        (count.aliases, MOST_ALIASES, "aliases"),
        (count.fields, MOST_FIELDS, "fields"),
    ):
        if number > most:
            raise GraphQLError(f"The query has {number} {what}, at most {most} are taken")
    errors = validate(schema, document, max_errors=1)
    if errors:
        raise errors[0]
    return document


class _Count(Visitor):
    """Counts what costs."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = self.aliases = self.deepest = 0
        self._depth = 0

    def enter_field(self, node: FieldNode, *_: Node) -> None:
        self.fields += 1
        self.aliases += node.alias is not None

    def enter_selection_set(self, _node: SelectionSetNode, *_: Node) -> None:
        self._depth += 1
        self.deepest = max(self.deepest, self._depth)

    def leave_selection_set(self, _node: SelectionSetNode, *_: Node) -> None:
        self._depth -= 1
