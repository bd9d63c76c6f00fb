"""Reading a JSON body strictly: Litestar's own conversion would take "400" for 400.

The time to read a body depends on its length and hardly on its content: a value is decoded only as the type of
its field, so unknown fields and nested arrays are never built (`python -m loadtest.bench.hostile_bodies`).
"""

import re
from decimal import Decimal
from functools import cache
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import msgspec
from litestar.dto import MsgspecDTO

from shopkit.web.problems import FieldError, Problem, invalid, refusal

T = TypeVar("T", bound=msgspec.Struct)
JSON = "application/json"
_NAMED = re.compile(r"(?:unknown field|missing required field|- at) `(?:\$\.)?(?P<field>.*)`$", re.DOTALL)
# The lengths limit what an exact conversion costs. A number with more digits stays as it is.
_NUMBER = re.compile(rb"-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?")


class StrictJson(MsgspecDTO[T], Generic[T]):
    """`dto=StrictJson[X]` on a handler: its `data: X` is decoded by msgspec with no coercion.

    X has no optional fields. It has no `pattern` either, which msgspec would search again for each duplicate of
    a name; `__post_init__` runs once.
    """

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
    """Raises a 400 Problem naming the field.

    If a name is given twice, each value must be valid, and the last one counts.
    """
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
    except msgspec.ValidationError:
        cutter, form = _form_of(kind)
        texts = msgspec.structs.astuple(cutter.decode(value))
        exact = tuple(map(_without_point, texts))
        if form % exact == form % texts:
            raise
        return msgspec.json.decode(form % exact, type=kind)


@cache
def _form_of(kind: type[msgspec.Struct]) -> tuple[msgspec.json.Decoder[msgspec.Struct], bytes]:
    """A decoder that returns the fields of `kind` as texts, and a body with a place for each text."""
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    texts = msgspec.defstruct(kind.__name__, [(name, msgspec.Raw) for name in names], forbid_unknown_fields=True)
    return msgspec.json.Decoder(texts), b"{%b}" % b",".join(b'"%b":%%b' % name.encode() for name in names)


def _without_point(text: msgspec.Raw) -> bytes | msgspec.Raw:
    """An integer as msgspec reads it. Any other text is returned as it is, so no number is rounded."""
    if not _NUMBER.fullmatch(text):
        return text
    number = Decimal(bytes(text).decode())
    return b"%d" % number if number == number.to_integral_value() else text


def _field_error(text: str) -> FieldError:
    named = _NAMED.search(text)
    field = named["field"] if named else "body"
    return FieldError(field, text.removesuffix(f" - at `$.{field}`"))
