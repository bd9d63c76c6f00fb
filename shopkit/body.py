"""Reading a JSON body strictly: Litestar's own conversion would take "400" for 400."""

import re
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast

import msgspec
from litestar.dto import MsgspecDTO

from shopkit.problems import FieldError, Problem, invalid, refusal

T = TypeVar("T", bound=msgspec.Struct)
JSON = "application/json"
_AT = re.compile(r"^(?P<message>.*?)(?: - at `\$\.?(?P<field>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING = re.compile(r"missing required field `(?P<field>.*)`", re.DOTALL)


class StrictJson(MsgspecDTO[T], Generic[T]):
    """`dto=StrictJson[X]` on a handler: its `data: X` is decoded by msgspec with no coercion."""

    def decode_bytes(self, value: bytes) -> Any:
        content_type = self.asgi_connection.headers.get("content-type", JSON)
        if content_type.partition(";")[0].strip().lower() != JSON:
            raise not_json()
        return decode(value, self.model_type)


def not_json() -> Problem:
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Send application/json.")


def too_large() -> Problem:
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def decode(value: bytes, kind: type[T]) -> T:
    """Raises a 400 Problem naming the field."""
    try:
        return _decoded(value, kind)
    except msgspec.ValidationError as error:
        raise invalid([_field_error(str(error))]) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid([FieldError("body", "not valid JSON")]) from error


def _decoded(value: bytes, kind: type[T]) -> T:
    """JSON has one kind of number: 400.0 is an integer to JSON Schema and to many clients, but not to msgspec."""
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as error:
        try:
            untyped = msgspec.json.decode(value)
        except (msgspec.MsgspecError, RecursionError):
            raise error from None
        return msgspec.convert(_with_integers(untyped), kind)


def _with_integers(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_with_integers(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _with_integers(item) for name, item in cast("dict[str, Any]", value).items()}
    return value


def _field_error(text: str) -> FieldError:
    match = _AT.match(text)
    message, field = (match["message"], match["field"]) if match else (text, None)
    named = _UNKNOWN.search(message) or _MISSING.search(message)
    return FieldError(field or (named["field"] if named else "body"), message)
