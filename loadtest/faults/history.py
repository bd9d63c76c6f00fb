"""What customers asked for and how it ended, as they know it."""

import asyncio
from collections import Counter
from typing import Any, Literal
from uuid import uuid4

import aiohttp
import msgspec

Outcome = Literal["ok", "failed", "unknown"]

ANSWER_SECONDS = 30
ACCOUNT = "/api/payments/account"
# The request may have taken effect all the same (docs/guarantees.md).
UNKNOWN = frozenset({502, 503, 504})


class Deed(msgspec.Struct):
    """A request of one customer. Asked again with its key, it is answered with the same `id`, or it was not done.

    `replayed` when the first answer was that of an earlier try, which had seemed to fail.
    `surprises` are statuses that nothing explains, `others` the ids that contradict the first.
    """

    user_id: str
    path: str
    body: dict[str, Any] | None = None
    key: str = msgspec.field(default_factory=lambda: uuid4().hex)
    id: str | None = None
    replayed: bool = False
    answered_at: float = 0.0
    outcomes: list[Outcome] = []
    surprises: list[str] = []
    others: list[str] = []

    async def ask(self, session: aiohttp.ClientSession, url: str) -> Outcome:
        outcome = await self._ask(session, url)
        self.outcomes.append(outcome)
        if outcome == "ok" and not self.answered_at:
            self.answered_at = asyncio.get_running_loop().time()
        return outcome

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> Outcome:
        headers = {"X-User-Id": self.user_id, "Idempotency-Key": self.key}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with session.post(url + self.path, json=self.body, headers=headers, timeout=timeout) as answer:
                if answer.status == 201:
                    self.replayed |= self.id is None and "Idempotency-Replayed" in answer.headers
                    return self._answered(await answer.json())
                if answer.status == 409 and self._may_be_there():
                    return self._answered({"user_id": self.user_id})
                if answer.status in UNKNOWN:
                    return "unknown"
                self.surprises.append(f"{self.path}: {answer.status} {await answer.text()}")
                return "failed"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "unknown"

    def _may_be_there(self) -> bool:
        """An account that was asked for before."""
        return self.path == ACCOUNT and bool(self.outcomes)

    def _answered(self, body: dict[str, Any]) -> Outcome:
        given = str(body.get("id", body.get("user_id")))
        if self.id is None:
            self.id = given
        elif self.id != given:
            self.others.append(given)
        return "ok"


def tally(deeds: list[Deed]) -> dict[str, int]:
    """How the first tries ended, how many were asked again, and how many of those had been done all the same."""
    first = Counter(deed.outcomes[0] for deed in deeds if deed.outcomes)
    again = [deed for deed in deeds if len(deed.outcomes) > 1]
    done = Counter(deed.outcomes[0] for deed in again if deed.replayed)
    return {**first, "asked again": len(again), **{f"{outcome} and done": count for outcome, count in done.items()}}
