"""Who calls: the infrastructure in front sets `X-User-Id`, and nothing behind it asks again."""

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from litestar import Request, Router
from litestar.datastructures import CacheControlHeader
from litestar.types import ControllerRouterHandler

from shopkit.web.problems import FieldError, Problem, invalid

T = TypeVar("T")

HEADER = "X-User-Id"
RULE = "1 to 64 characters of A-Z a-z 0-9 . _ -"
PATTERN = r"^[A-Za-z0-9._-]{1,64}$"

UserId: TypeAlias = Annotated[str, msgspec.Meta(pattern=PATTERN)]

_USER_ID = re.compile(PATTERN)
# Headers with one value and a meaning. If one is repeated, two readers can choose two different values.
_SINGLE = {name.lower().encode(): name for name in (HEADER, "Idempotency-Key", "Content-Type")}


def user_router(path: str, handlers: Sequence[ControllerRouterHandler], tag: str) -> Router:
    """The calls of a user. The user is identified before anything else, and no cache stores a response."""
    return Router(
        path,
        route_handlers=handlers,
        before_request=identify,
        cache_control=CacheControlHeader(no_store=True),
        tags=[tag],
        security=[{"user": []}],
    )


async def identify(request: Request[Any, Any, Any]) -> None:
    """Sets `request.user`, before the body is read. A handler with a `before_request` of its own calls this first.

    Raises a 401 Problem without a user, and a 400 Problem for a header that is malformed or repeated.
    """
    given = [header for header in request.scope["headers"] if header[0] in _SINGLE]
    values = dict(given)
    user = values.get(b"x-user-id")
    request.scope["user"] = user_id(None if user is None else user.decode("latin-1"))
    if len(values) < len(given):
        raise _repeated([name for name, _ in given])


def _repeated(names: list[bytes]) -> Problem:
    repeated = [header for name, header in _SINGLE.items() if names.count(name) > 1]
    if HEADER in repeated:
        return malformed_user()
    return invalid([FieldError(header, "expected once") for header in repeated])


def per_user(make: Callable[[str], T]) -> Callable[[Request[Any, Any, Any]], T]:
    """A dependency that is made for each request from the id of its user. For handlers of `user_router`."""

    def provide(request: Request[Any, Any, Any]) -> T:
        return make(request.user)

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
