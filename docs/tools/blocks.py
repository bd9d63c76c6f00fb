"""The commands in a Markdown document: its fenced blocks of the language `sh`."""

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
# Whoever writes one of these means commands as well.
ALSO_COMMANDS = re.compile(r"^ *```(?:bash|shell|console|zsh)|^ +```sh", re.MULTILINE)


class Block(NamedTuple):
    """`shown` is the output that follows it, of `kind` json or text; `reason` says why it is not run."""

    place: str
    commands: str
    reason: str | None
    kind: str | None
    shown: str

    def lines(self) -> list[str]:
        """Its commands without comments."""
        return [line for line in (re.sub(r"(^| +)#.*", "", raw) for raw in self.commands.splitlines()) if line]


class Unclear(Exception):
    """A document does not say what is to be done with a block."""


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text()
    if other := ALSO_COMMANDS.search(text):
        raise Unclear(f"{path.name}:{_line(text, other.start())}: commands go into a block ```sh at the margin")
    skipped = 0
    for found in BLOCK.finditer(text):
        reason = None if found["reason"] is None else " ".join(found["reason"].split())
        place = f"{path.name}:{_line(text, found.start('commands'))}"
        if reason == "":
            raise Unclear(f"{place}: the reason is missing")
        skipped += reason is not None
        yield Block(place, found["commands"], reason, found["kind"], found["shown"] or "")
    if len(SKIP.findall(text)) != skipped:
        raise Unclear(f"{path.name}: a comment `<!-- not run here: ... -->` does not stand directly above a block")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
