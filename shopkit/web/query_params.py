"""Strict query parameters. Litestar alone would treat `null` as absent, and use the last of repeated values."""

from typing import Any

from litestar import Request

from shopkit.web.identity import identify
from shopkit.web.problems import FieldError, invalid


async def once_and_not_null(request: Request[Any, Any, Any]) -> None:
    """Identifies the user, then checks the query parameters. It is the `before_request` of a user's GET handler.

    Raises a 400 Problem that names a repeated parameter or one with the value `null`.
    """
    await identify(request)
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name in seen or value == "null":
            raise invalid([FieldError(name, "Expected one value that is not null")])
        seen.add(name)
