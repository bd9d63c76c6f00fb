"""Reads the commands of a Markdown document: its fenced code blocks of the language `sh`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SKIP = re.compile(r"^ *<!-- not run here:", re.MULTILINE)
BLOCK = re.compile(
    r"(?:^<!-- not run here:(?P<reason>[^>]*) -->\n)?"
    r"^```sh\n(?P<commands>.*?)^```$"
    r"(?:\n+^```(?P<kind>json|text)\n(?P<shown>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
# Other spellings of a block of commands, which are rejected so that no block is missed.
REJECTED_FENCES = re.compile(r"^ *```(?:bash|shell|console|zsh)|^ +```sh", re.MULTILINE)


class Block(NamedTuple):
    """A block of commands.

    `place` is file and line. `shown` is the output that the document shows after the block, of `kind` json or text.
    `reason` says why the block is not run; None means that it is run.
    """

    place: str
    commands: str
    reason: str | None
    kind: str | None
    shown: str

    def lines(self) -> list[str]:
        """Returns the commands without comments."""
        return [line for line in (re.sub(r"(^| +)#.*", "", raw) for raw in self.commands.splitlines()) if line]


class InvalidBlock(Exception):
    """The document does not say clearly whether a block must be run."""


def blocks(path: Path) -> Iterator[Block]:
    """Yields the blocks of a document. Raises InvalidBlock."""
    text = path.read_text()
    if other := REJECTED_FENCES.search(text):
        raise InvalidBlock(
            f"{path.name}:{_line(text, other.start())}: write commands in a block ```sh without indentation"
        )
    skipped = 0
    for found in BLOCK.finditer(text):
        reason = None if found["reason"] is None else " ".join(found["reason"].split())
        place = f"{path.name}:{_line(text, found.start('commands'))}"
        if reason == "":
            raise InvalidBlock(f"{place}: the reason is missing")
        skipped += reason is not None
        yield Block(place, found["commands"], reason, found["kind"], found["shown"] or "")
    if len(SKIP.findall(text)) != skipped:
        raise InvalidBlock(f"{path.name}: a comment `<!-- not run here: ... -->` is not directly above a block")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
