"""The header `Idempotency-Key`: a request that is repeated with it takes effect once.

Follows draft-ietf-httpapi-idempotency-key-header. The services store the key with what it created, in one
transaction, unique per user and operation.
"""

import re
from http import HTTPStatus
from typing import Annotated, TypeAlias

from litestar.params import HeaderParameter

from shopkit.problems import FieldError, Problem, invalid

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name=HEADER,
        description="1 to 255 characters, quoted or bare. The same key and body give the first answer again.",
    ),
]

_BARE = re.compile(r"[!#-~]{1,255}")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_LONGEST = 255


def parse_key(value: str | None) -> str | None:
    """The key without quotes, so that both ways to write it mean the same. Raises a 400 Problem."""
    if value is None or _BARE.fullmatch(value):
        return value
    quoted = _QUOTED.fullmatch(value)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if not 1 <= len(key) <= _LONGEST:
        raise invalid([FieldError(HEADER, "1 to 255 visible ASCII characters, quoted or bare")])
    return key


def key_reused() -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "This key was used for a request with another body.",
        [FieldError(HEADER, "used before with another body")],
    )
