"""Formats dead letters: as tables and text for operators, and as JSON lines for programs."""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import msgspec

from shopkit.dead_letters.letter import Letter
from shopkit.messaging.events import UNDECODABLE

HEADINGS = ("ID", "WHEN", "EVENTS", "TYPE", "SUBJECT", "REASON")
REASON_WIDTH = 60
# The size of indented JSON grows with the square of its depth: 10 KB of brackets would become 50 MB. Events have 4
# levels.
INDENT_DEPTH_LIMIT = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def table(letters: Sequence[Letter]) -> str:
    rows = [HEADINGS, *map(_row, letters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows)


def line(letter: Letter) -> str:
    return "  ".join(part for part in _row(letter) if part != "-")


def json_line(letter: Letter) -> str:
    fields = _fields(letter) | {"events": letter.events}
    return msgspec.json.encode(fields).decode()


def everything(letter: Letter) -> str:
    fields = _fields(letter) | letter.headers
    lines = [f"{name}: {_printable(str(value))}" for name, value in fields.items() if value is not None]
    return "\n".join([*lines, "", _body(letter.body)])


def _fields(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "when": letter.when,
        "reason": letter.reason,
        "resolved_at": letter.resolved_at,
        "resolution": letter.resolution,
    }


def _row(letter: Letter) -> tuple[str, ...]:
    return (
        letter.id,
        _time(letter.when),
        str(len(letter.events)),
        _first_of(event.type for event in letter.events),
        _first_of(event.subject for event in letter.events),
        _short(_resolved(letter) or letter.reason),
    )


def _resolved(letter: Letter) -> str | None:
    return letter.resolution and f"{_time(letter.resolved_at)} {letter.resolution}"


def _time(when: datetime | None) -> str:
    return when.strftime("%Y-%m-%d %H:%M:%S") if when else "-"


def _first_of(texts: Iterable[str]) -> str:
    first, *others = [_printable(text) for text in dict.fromkeys(texts)] or ["-"]
    return f"{first} +{len(others)}" if others else first


def _short(text: str) -> str:
    text = _printable(text)
    return text if len(text) <= REASON_WIDTH else text[: REASON_WIDTH - 3] + "..."


def _body(body: bytes) -> str:
    try:
        msgspec.json.decode(body)
        if _depth(body) <= INDENT_DEPTH_LIMIT:
            return msgspec.json.format(body, indent=2).decode()
    except UNDECODABLE:
        pass
    try:
        return _printable(body.decode())
    except UnicodeDecodeError:
        return "base64: " + base64.b64encode(body).decode()


def _depth(json: bytes) -> int:
    """Returns how deep arrays and objects are nested in valid JSON."""
    brackets = _STRING.sub(b"", json)
    return max(accumulate((byte in b"[{") - (byte in b"]}") for byte in brackets), default=0)


def _printable(text: str) -> str:
    """Escapes control characters, because text of a foreign publisher can contain commands for the terminal."""
    return text if text.isprintable() else repr(text)
