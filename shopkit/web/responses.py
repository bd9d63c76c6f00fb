"""What handlers say of their answers, so that OpenAPI can: each status with examples, headers and links."""

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
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    }
}
NO_STORE: Mapping[str, Json] = {
    "Cache-Control": {"description": "No cache stores it.", "required": True, "schema": {"const": "no-store"}}
}


class DocumentedResponse(ResponseSpec):
    """`examples` are by name; `headers` and `links` are as OpenAPI writes them.

    Without a `kind` it is what the handler returns.
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
    """For `headers` of an answer with `Location`."""
    schema = {"type": "string", "format": "uri-reference"}
    return {"Location": {"description": "Where it is.", "required": True, "schema": schema, "example": example}}


def refusals(*refused: Problem) -> dict[int, ResponseSpec]:
    """For the `responses` of a call that has a user: how it is refused, and how every such call can fail."""
    always = (
        identity.malformed_user(),
        identity.missing_user(),
        problems.internal(),
        problems.unavailable("The service cannot reach its data right now."),
    )
    of_status: dict[int, list[Problem]] = {}
    for problem in (*refused, *always):
        of_status.setdefault(int(problem.status), []).append(problem)
    return {status: refusal(*of_status[status]) for status in sorted(of_status)}


def refusal(*refused: Problem) -> DocumentedResponse:
    """Of one status."""
    return DocumentedResponse(
        " ".join(problem.detail for problem in refused),
        {problem.slug: problem.document("") for problem in refused},
        headers=RETRY_AFTER if refused[0].headers else None,
        kind=ProblemDocument,
        media_type=problems.MEDIA_TYPE,
    )
