"""Identity: the header `X-User-Id` names the user. The infrastructure in front sets it, and the services trust it."""

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
# Headers that must not be repeated: of two values, two readers could choose different ones.
_SINGLE = {name.lower().encode(): name for name in (HEADER, "Idempotency-Key", "Content-Type")}


def user_router(path: str, handlers: Sequence[ControllerRouterHandler], tag: str) -> Router:
    """Returns a router whose requests belong to a user. It identifies the user first and forbids caching."""
    return Router(
        path,
        route_handlers=handlers,
        before_request=identify,
        cache_control=CacheControlHeader(no_store=True),
        tags=[tag],
        security=[{"user": []}],
    )


async def identify(request: Request[Any, Any, Any]) -> None:
    """Sets `request.user` before the body is read. A handler with its own `before_request` must call this first.

    Raises a 401 Problem if the header is missing, and a 400 Problem if a header is malformed or repeated.
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
    """Returns a Litestar dependency that calls `make` with the user id of each request. Needs `user_router`."""

    def provide(request: Request[Any, Any, Any]) -> T:
        return make(request.user)

    return provide


def user_id(value: str | None) -> str:
    """Returns `value` unchanged. Raises a 401 Problem if it is None, and a 400 Problem if it breaks RULE."""
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
