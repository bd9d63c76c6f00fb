"""Who calls: the infrastructure in front sets `X-User-Id`, and nothing behind it asks again."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from litestar import Request

from shopkit.problems import FieldError, Problem

T = TypeVar("T")

HEADER = "X-User-Id"
RULE = "1 to 64 characters of A-Z a-z 0-9 . _ -"
PATTERN = r"^[A-Za-z0-9._-]{1,64}$"

UserId: TypeAlias = Annotated[str, msgspec.Meta(pattern=PATTERN)]

_USER_ID = re.compile(PATTERN)


def on_behalf(make: Callable[[str], T]) -> Callable[[Request[Any, Any, Any]], T]:
    """A dependency that is made anew for each request from the id of its caller."""

    def provide(request: Request[Any, Any, Any]) -> T:
        given = request.headers.getall(HEADER, [])
        # Given twice, it is malformed: one of the two may be the caller's own.
        return make(user_id(",".join(given) if given else None))

    return provide


def user_id(value: str | None) -> str:
    """Raises a 401 Problem without a value, a 400 Problem for one that is not 1 to 64 of `A-Za-z0-9._-`."""
    if value is None:
        raise missing_user()
    if not _USER_ID.fullmatch(value):
        raise malformed_user()
    return value


def missing_user() -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "missing-user", f"The header {HEADER} is missing.")


def malformed_user() -> Problem:
    errors = [FieldError(HEADER, RULE)]
    return Problem(HTTPStatus.BAD_REQUEST, "malformed-user", f"The header {HEADER} is malformed.", errors)
