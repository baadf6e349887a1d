"""`POST /graphql`: the queries and mutations of the web UI's gateway mode."""

from pydantic import Field

from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model, example


class GraphqlRequest(Model):
    """A document of GraphQL, with values for its variables."""

    model_config = example(
        query="mutation Run($name: String!) { executePlaybook(name: $name) { executionId } }",
        variables={"name": "examples/hello"},
    )

    query: str
    variables: JsonObject | None = None
    operationName: str | None = None  # noqa: N815 -- the protocol's name


class GraphqlError(Model):
    """An error; `extensions` has the HTTP `status` that the same call would have got."""

    message: str
    locations: list[JsonObject] | None = None
    path: list[int | str] | None = None
    extensions: JsonObject | None = None


class GraphqlAnswer(Model):
    """The requested values, and errors; the status is 200 with errors, too."""

    model_config = example(data={"executePlaybook": {"executionId": "325077236512452608"}})

    data: Json = None
    errors: list[GraphqlError] | None = Field(default=None, description="absent without errors")
