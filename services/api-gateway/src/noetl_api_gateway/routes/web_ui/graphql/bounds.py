"""Limits of a GraphQL document; errors name the limit that is exceeded."""

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
"""Most aliases in a document: with them it repeats a field, such as the start of an execution."""
DEEPEST = 15
"""Deepest nesting of a document, enough for introspection by tools."""


def checked(schema: GraphQLSchema, source: str) -> DocumentNode:
    """Parse a document, and check that it is within the limits and fits the schema.

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
    """Counts fields, aliases and depth."""

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
