"""The header `Idempotency-Key`: a request that is repeated with the same key takes effect once.

Follows draft-ietf-httpapi-idempotency-key-header. A service stores the key in the row that the request creates,
so both commit in one transaction. The key is unique per user and operation.
"""

import re
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias

from litestar.params import HeaderParameter

from shopkit.web.problems import FieldError, Problem, invalid

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}

PATTERN = r'^([!#-~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}")$'

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    HeaderParameter(
        name=HEADER,
        description="1 to 255 characters, quoted or bare. The same key and body replay the first response.",
        schema_extra={"pattern": PATTERN},
    ),
]
REPLAYED_HEADER: dict[str, Any] = {
    "Idempotency-Replayed": {
        "description": "`true` if this is a replay of the first response. Absent from the first response.",
        "schema": {"type": "string", "const": "true"},
    }
}

_KEY = re.compile(PATTERN)


def parse_key(value: str | None) -> str | None:
    """Returns the key without quotes: a quoted and a bare key are the same. Raises a 400 Problem if malformed."""
    if value is None:
        return None
    if not _KEY.fullmatch(value):
        raise invalid([FieldError(HEADER, "1 to 255 visible ASCII characters, quoted or bare")])
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def key_reused() -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "This key was used for a request with another body.",
        [FieldError(HEADER, "used before with another body")],
    )
