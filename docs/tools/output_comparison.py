"""Compares the output of a command with the output that a document shows.

Two values may differ if they are strings or words with a digit (ids, times, replicas) or numbers of ten digits or
more (offsets). Everything else must be equal: keys, order, words, amounts. In text, the number of spaces does not
matter, and a line of three dots matches any lines.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

LARGE = 10**9


def json_values(text: str) -> list[Any]:
    """Returns the JSON values of a text, with or without whitespace between them. Raises ValueError."""
    decoder, found, at = json.JSONDecoder(), list[Any](), 0
    while (at := at + len(text[at:]) - len(text[at:].lstrip())) < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def differences(shown: Any, real: Any, at: str = "") -> Iterator[str]:
    """Yields a description of each difference that is not allowed."""
    if isinstance(shown, dict) and isinstance(real, dict):
        expected, found = cast("dict[str, Any]", shown), cast("dict[str, Any]", real)
        if list(expected) != list(found):
            yield f"{at or 'the value'} has {', '.join(found)}, not {', '.join(expected)}"
            return
        for name, value in expected.items():
            yield from differences(value, found[name], f"{at}.{name}")
    elif isinstance(shown, list) and isinstance(real, list):
        expected, found = cast("list[Any]", shown), cast("list[Any]", real)
        if len(expected) != len(found):
            yield f"{at or 'the value'} has {len(found)} items, not {len(expected)}"
            return
        for number, (value, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(value, other, f"{at}[{number}]")
    elif shown != real and not (_varies(shown) and _varies(real)):
        yield f"{at or 'the value'} is {real!r}, not {shown!r}"


def _varies(value: Any) -> bool:
    if isinstance(value, str):
        return re.search(r"\d", value) is not None
    return isinstance(value, int | float) and abs(value) >= LARGE


def text_matches(shown: str, real: str) -> bool:
    return _lines_match([line.split() for line in shown.splitlines()], [line.split() for line in real.splitlines()])


def _lines_match(shown: list[list[str]], real: list[list[str]]) -> bool:
    if not shown:
        return not real
    if shown[0] == ["..."]:
        return any(_lines_match(shown[1:], real[skipped:]) for skipped in range(len(real) + 1))
    return bool(real) and _words_match(shown[0], real[0]) and _lines_match(shown[1:], real[1:])


def _words_match(shown: list[str], real: list[str]) -> bool:
    return len(shown) == len(real) and all(
        one == other or (_varies(one) and _varies(other)) for one, other in zip(shown, real, strict=True)
    )
