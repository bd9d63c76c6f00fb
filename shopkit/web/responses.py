"""Responses for a handler's `responses=`: OpenAPI shows each status with its examples, headers and links."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example

from shopkit.web import identity, problems
from shopkit.web.json_body import JSON
from shopkit.web.problems import Problem, ProblemDocument

Json: TypeAlias = dict[str, Any]

RETRY_AFTER: Mapping[str, Json] = {
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    }
}
NO_STORE: Mapping[str, Json] = {
    "Cache-Control": {
        "description": "No cache may store the response.",
        "required": True,
        "schema": {"const": "no-store"},
    }
}


class DocumentedResponse(ResponseSpec):
    """A response in the OpenAPI document. `examples` are keyed by name.

    `headers` and `links` have the form that OpenAPI defines. `kind` is the type of the body; without it the body is
    the return type of the handler.
    """

    def __init__(
        self,
        description: str,
        examples: Mapping[str, msgspec.Struct],
        *,
        headers: Mapping[str, Json] | None = None,
        links: Mapping[str, Json] | None = None,
        kind: type[msgspec.Struct] | None = None,
        media_type: str = JSON,
    ) -> None:
        named = [Example(id=name, value=value) for name, value in examples.items()]
        super().__init__(kind, description=description, media_type=media_type, examples=named)
        self.headers = headers
        self.links = links


def location(example: str) -> dict[str, Json]:
    """Returns the description of a `Location` header."""
    schema = {"type": "string", "format": "uri-reference"}
    description = "The address of the created resource."
    return {"Location": {"description": description, "required": True, "schema": schema, "example": example}}


def error_responses(*problems_of_operation: Problem) -> dict[int, ResponseSpec]:
    """Returns the error responses of a user's operation: its own problems, and the problems common to all."""
    common = (
        identity.malformed_user(),
        identity.missing_user(),
        problems.internal(),
        problems.unavailable("The service cannot reach its data right now."),
    )
    by_status: dict[int, list[Problem]] = {}
    for problem in (*problems_of_operation, *common):
        by_status.setdefault(int(problem.status), []).append(problem)
    return {status: error_response(*by_status[status]) for status in sorted(by_status)}


def error_response(*same_status: Problem) -> DocumentedResponse:
    """Returns one error response with an example of each problem. All problems must have the same status."""
    return DocumentedResponse(
        " ".join(problem.detail for problem in same_status),
        {problem.slug: problem.document("") for problem in same_status},
        headers=RETRY_AFTER if same_status[0].headers else None,
        kind=ProblemDocument,
        media_type=problems.MEDIA_TYPE,
    )
