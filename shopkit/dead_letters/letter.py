"""A dead letter is a message or a stored event that its consumer could not handle.

An operator replays or discards it.
"""

from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from shopkit.messaging.events import UNDECODABLE, decode_batch


class UsageError(Exception):
    """The command cannot be carried out with the given arguments."""


class Summary(msgspec.Struct, frozen=True):
    """The attributes of an event that are listed. An attribute that the event does not have is empty."""

    id: str = ""
    type: str = ""
    subject: str = ""
    time: str = ""


class Letter(NamedTuple):
    """`id` is `<queue>/<message id>` or `<database>/<row>`; `queue` is the part before the slash."""

    id: str
    queue: str
    when: datetime | None
    reason: str
    body: bytes
    events: list[Summary]
    headers: dict[str, Any]
    resolved_at: datetime | None = None
    resolution: str | None = None


class Resolution(NamedTuple):
    """The decision of the operator `by` about a letter."""

    what: Literal["replayed", "discarded"]
    by: str
    note: str | None

    def __str__(self) -> str:
        return f"{self.what} by {self.by}" + (f": {self.note}" if self.note else "")


class LetterFilter(msgspec.Struct, frozen=True):
    """Selects letters.

    A letter must match every field that is set. `type`, `subject` and `event` match if any event of the letter has
    that value.
    """

    ids: frozenset[str] = frozenset()
    queue: str | None = None
    type: str | None = None
    subject: str | None = None
    event: str | None = None
    reason: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    def can_match(self, queue: str) -> bool:
        """Returns whether letters of `queue` can match. If not, the command need not read them."""
        named = not self.ids or any(letter_id.startswith(f"{queue}/") for letter_id in self.ids)
        return named and self.queue in (None, queue)

    def matches(self, letter: Letter) -> bool:
        return (
            (not self.ids or letter.id in self.ids)
            and self.queue in (None, letter.queue)
            and _among(self.type, (event.type for event in letter.events))
            and _among(self.subject, (event.subject for event in letter.events))
            and _among(self.event, (event.id for event in letter.events))
            and (self.reason or "") in letter.reason
            and self._in_time(letter.when)
        )

    def _in_time(self, when: datetime | None) -> bool:
        if self.older_than is None and self.newer_than is None:
            return True
        if when is None:
            return False
        age = datetime.now(UTC) - when
        return (self.older_than or age) <= age <= (self.newer_than or age)


class Letters(Protocol):
    """A store of dead letters: the broker or a database."""

    def read(self, wanted: LetterFilter, *, resolved: bool) -> AsyncGenerator[Letter]:
        """Yields letters, oldest first. `wanted` only skips whole queues: the caller must check `wanted.matches`.

        A letter can be resolved until the next one is read.
        """
        ...

    async def resolve(self, letter: Letter, resolution: Resolution) -> bool:
        """Returns False if another command has already resolved the letter."""
        ...


def summaries(body: bytes) -> list[Summary]:
    """Returns a summary of each event of a message, or an empty list if `body` is not a batch of events."""
    try:
        return [_summary(event) for event in decode_batch(body)]
    except UNDECODABLE:
        return []


def _summary(event: bytes) -> Summary:
    try:
        return msgspec.json.decode(event, type=Summary)
    except UNDECODABLE:
        return Summary()


def _among(wanted: str | None, found: Iterable[str]) -> bool:
    return wanted is None or wanted in found
