"""Reading query parameters strictly: Litestar takes the text null for an absent value, and the last of several."""

from typing import Any

from litestar import Request

from shopkit.web.identity import identify
from shopkit.web.problems import FieldError, invalid


async def once_and_not_null(request: Request[Any, Any, Any]) -> None:
    """For `before_request` of a user's call with query parameters. Identifies the user first.

    Raises a 400 Problem naming a parameter that is repeated or null.
    """
    await identify(request)
    given: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name in given or value == "null":
            raise invalid([FieldError(name, "Expected one value that is not null")])
        given.add(name)
