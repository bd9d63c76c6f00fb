"""Problem details (RFC 9457): every error response of a service is a problem document."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException

from shopkit.runtime.retry import is_transient

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "1"}
# Most problems depend on the user. A cache may store a response with some statuses, such as 404, by default.
NO_STORE = {"Cache-Control": "no-store"}

# Python 3.13 names these two statuses differently than 3.11.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
# nginx.conf has the same texts.
DETAILS = {
    404: "There is nothing at this address.",
    405: "This method is not allowed here.",
    408: "The request took too long to arrive.",
    413: "The body is larger than 64 KiB.",
}

# The detail of the exception that Litestar raises if a client disconnects before its body is complete.
CLIENT_DISCONNECTED = "client disconnected prematurely"

log = structlog.get_logger()


class FieldError(msgspec.Struct, frozen=True):
    """A field of the body, a parameter or a header that is wrong, and the reason."""

    field: str
    message: str


class ProblemDocument(msgspec.Struct, frozen=True):
    """An error as RFC 9457 describes it. `type` identifies the kind of error. `errors` lists the wrong fields.

    Errors of nginx have the type `about:blank`: only their status is meaningful.
    """

    type: Annotated[str, msgspec.Meta(pattern=r"^(urn:gozon:problem:[a-z-]+|about:blank)$")]
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    instance: str
    errors: tuple[FieldError, ...] | msgspec.UnsetType = msgspec.UNSET


class Problem(Exception):
    """An exception that becomes an error response. `slug` is the last part of the document's `type`."""

    def __init__(self, status: HTTPStatus, slug: str, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.errors = tuple(errors)

    @property
    def headers(self) -> dict[str, str]:
        return RETRY_AFTER if self.status == HTTPStatus.SERVICE_UNAVAILABLE else {}

    def document(self, instance: str) -> ProblemDocument:
        return ProblemDocument(
            type=f"urn:gozon:problem:{self.slug}",
            title=TITLES.get(self.status, self.status.phrase),
            status=self.status,
            detail=self.detail,
            instance=instance,
            errors=self.errors or msgspec.UNSET,
        )


class ClosingProblem(Problem):
    """A problem after which the server closes the connection.

    Client and server may disagree about the end of the refused request, so nothing after it may be read.
    """

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Turns any exception into an error response. It is the exception handler of every service."""
    problem, headers = _problem(error)
    # Litestar removes the prefix of a mounted application from `path`, but not from `raw_path`.
    path = request.scope["raw_path"].decode("latin-1")
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", path=path, exc_info=error)
    return Response(
        msgspec.json.encode(problem.document(path)),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=NO_STORE | problem.headers | headers,
    )


def _problem(error: Exception) -> tuple[Problem, dict[str, str]]:
    if isinstance(error, Problem):
        return error, {}
    if isinstance(error, ValidationException):
        return invalid(_litestar_errors(error)), {}
    if isinstance(error, InternalServerException) and error.detail == CLIENT_DISCONNECTED:
        return malformed(), {}
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return status_problem(HTTPStatus(error.status_code)), error.headers or {}
    if is_transient(error):
        log.warning("responding with 503 after a transient error", error=repr(error))
        return unavailable("The service cannot reach its data right now."), {}
    return internal(), {}


def status_problem(status: HTTPStatus) -> Problem:
    """Returns the problem for an error that has nothing but its status, such as one raised by Litestar."""
    title = TITLES.get(status, status.phrase)
    return Problem(status, title.lower().replace(" ", "-"), DETAILS.get(status, title))


def internal() -> Problem:
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The service failed.")


def unavailable(detail: str) -> Problem:
    """503: a server is unavailable. The same request may succeed shortly."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail)


def malformed() -> Problem:
    """400 for a request that is not valid HTTP."""
    return ClosingProblem(HTTPStatus.BAD_REQUEST, "malformed-request", "The request is malformed.")


def too_slow() -> Problem:
    """408 for a body that takes too long to arrive."""
    return status_problem(HTTPStatus.REQUEST_TIMEOUT)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """400 with a list of the wrong fields."""
    return Problem(HTTPStatus.BAD_REQUEST, "invalid-request", "The request is not valid.", errors)


def _litestar_errors(error: ValidationException) -> list[FieldError]:
    found: list[Any] = error.extra if isinstance(error.extra, list) else []
    named = [FieldError(str(item.get("key", "request")), str(item.get("message", ""))) for item in found]
    # Litestar reports an absent body as the missing argument `data`.
    named = [FieldError("body", "missing") if item.field == "data" else item for item in named]
    return named or [FieldError("request", error.detail)]
