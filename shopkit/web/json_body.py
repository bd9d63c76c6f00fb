"""Strict decoding of JSON bodies. Litestar's own conversion would accept "400" for 400.

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

from shopkit.web.problems import FieldError, Problem, invalid, status_problem

T = TypeVar("T", bound=msgspec.Struct)
JSON = "application/json"
_NAMED = re.compile(r"(?:unknown field|missing required field|- at) `(?:\$\.)?(?P<field>.*)`$", re.DOTALL)
# The limits on digits bound the cost of the exact conversion. A number with more digits is not converted.
_NUMBER = re.compile(rb"-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?")


class StrictJson(MsgspecDTO[T], Generic[T]):
    """With `dto=StrictJson[X]`, a handler's `data: X` is decoded by msgspec without coercion.

    X must have no optional fields. X must have no `pattern`: if a name is repeated, msgspec would match the pattern
    for each repetition. X checks in `__post_init__` instead, which runs once.
    """

    def decode_bytes(self, value: bytes) -> Any:
        content_type = self.asgi_connection.headers.get("content-type", JSON)
        if content_type.partition(";")[0].strip().lower() != JSON:
            raise not_json()
        return decode(value, self.model_type)


def not_json() -> Problem:
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Send application/json.")


def too_large() -> Problem:
    return status_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


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
    """Decodes, and accepts 400.0 as an integer: to JSON Schema and many clients it is one, to msgspec it is not."""
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError:
        raw_decoder, template = _raw_decoder_and_template(kind)
        raw = msgspec.structs.astuple(raw_decoder.decode(value))
        converted = tuple(map(_as_integer, raw))
        if template % converted == template % raw:
            raise
        return msgspec.json.decode(template % converted, type=kind)


@cache
def _raw_decoder_and_template(kind: type[msgspec.Struct]) -> tuple[msgspec.json.Decoder[msgspec.Struct], bytes]:
    """Returns a decoder that leaves each field of `kind` as raw JSON, and a body with a place for each field."""
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    raw_kind = msgspec.defstruct(
        kind.__name__, [(name, msgspec.Raw) for name in names], forbid_unknown_fields=True
    )
    return msgspec.json.Decoder(raw_kind), b"{%b}" % b",".join(b'"%b":%%b' % name.encode() for name in names)


def _as_integer(text: msgspec.Raw) -> bytes | msgspec.Raw:
    """Returns a whole number, such as 400.0, as digits only. Any other text is unchanged, so nothing is rounded."""
    if not _NUMBER.fullmatch(text):
        return text
    number = Decimal(bytes(text).decode())
    return b"%d" % number if number == number.to_integral_value() else text


def _field_error(text: str) -> FieldError:
    named = _NAMED.search(text)
    field = named["field"] if named else "body"
    return FieldError(field, text.removesuffix(f" - at `$.{field}`"))
