"""Every error answer is an RFC 9457 problem document, whoever raises it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from shopkit.retry import is_transient

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "1"}

log = structlog.get_logger()


class FieldError(msgspec.Struct, frozen=True):
    field: str
    message: str


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error. `type` is a URN that stays the same for one kind of error; `errors` names wrong fields."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()


class Problem(Exception):
    """A refusal that the caller can read: it carries its status and the last part of its `type`."""

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
            title=self.status.phrase,
            status=self.status,
            detail=self.detail,
            instance=instance,
            errors=self.errors,
        )


def documented(*statuses: HTTPStatus) -> dict[int, ResponseSpec]:
    """For a handler's `responses`: what OpenAPI says of its errors, and of those that every call may get."""
    return {
        status: ResponseSpec(
            ProblemDocument,
            description=status.description or status.phrase,
            media_type=MEDIA_TYPE,
            generate_examples=False,
        )
        for status in (
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            *statuses,
            HTTPStatus.SERVICE_UNAVAILABLE,
        )
    }


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The exception handler of every service."""
    problem, headers = _problem(error)
    # Litestar cuts the prefix of a mounted application off `path`, but not off `raw_path`.
    path = request.scope["raw_path"].decode("latin-1")
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", path=path, exc_info=error)
    return Response(
        msgspec.json.encode(problem.document(path)),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers | headers,
    )


def _problem(error: Exception) -> tuple[Problem, dict[str, str]]:
    if isinstance(error, Problem):
        return error, {}
    if isinstance(error, ValidationException):
        return invalid(_litestar_errors(error)), {}
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        status = HTTPStatus(error.status_code)
        return Problem(status, status.name.lower().replace("_", "-"), status.description), error.headers or {}
    if is_transient(error):
        log.warning("unavailable", error=repr(error))
        return unavailable("The service cannot reach its data right now."), {}
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The service failed."), {}


def unavailable(detail: str) -> Problem:
    """503: something is away; the same request may succeed shortly."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail)


def invalid(errors: Sequence[FieldError]) -> Problem:
    """400 naming the wrong fields."""
    return Problem(HTTPStatus.BAD_REQUEST, "invalid-request", "The request is not valid.", errors)


def _litestar_errors(error: ValidationException) -> list[FieldError]:
    found: list[Any] = error.extra if isinstance(error.extra, list) else []
    named = [FieldError(str(item.get("key", "request")), str(item.get("message", ""))) for item in found]
    # Litestar reports an absent body as the missing argument `data`.
    named = [FieldError("body", "missing") if item.field == "data" else item for item in named]
    return named or [FieldError("request", error.detail)]
