"""Whether an output is what a document shows, apart from what differs every time.

A string or a word with a digit in it (an id, a time, a replica), and a number of ten digits or more (an offset),
may be another one. Everything else has to be the same: keys, order, words, amounts. In
text, spaces do not count, and a line of three dots stands for any lines.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

LARGE = 10**9


def json_values(text: str) -> list[Any]:
    """One after the other, whatever space is between them. Raises ValueError."""
    decoder, found, at = json.JSONDecoder(), list[Any](), 0
    while (at := at + len(text[at:]) - len(text[at:].lstrip())) < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def differing(shown: Any, real: Any, at: str = "") -> Iterator[str]:
    """Where two JSON values differ in more than what differs every time."""
    if isinstance(shown, dict) and isinstance(real, dict):
        ours, theirs = cast("dict[str, Any]", shown), cast("dict[str, Any]", real)
        if list(ours) != list(theirs):
            yield f"{at or 'it'} has {', '.join(theirs)}, not {', '.join(ours)}"
            return
        for name, value in ours.items():
            yield from differing(value, theirs[name], f"{at}.{name}")
    elif isinstance(shown, list) and isinstance(real, list):
        ours, theirs = cast("list[Any]", shown), cast("list[Any]", real)
        if len(ours) != len(theirs):
            yield f"{at or 'it'} has {len(theirs)} items, not {len(ours)}"
            return
        for number, (value, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differing(value, other, f"{at}[{number}]")
    elif shown != real and not (_varies(shown) and _varies(real)):
        yield f"{at or 'it'} is {real!r}, not {shown!r}"


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
