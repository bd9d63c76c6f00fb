"""Requests of customers and their outcomes, as the customers see them."""

import asyncio
from collections import Counter
from typing import Any, Literal
from uuid import uuid4

import aiohttp
import msgspec

Outcome = Literal["ok", "failed", "unknown"]

RESPONSE_TIMEOUT_SECONDS = 30
ACCOUNT = "/api/payments/account"
# The request can have taken effect in spite of these statuses (docs/guarantees.md).
UNKNOWN_OUTCOME = frozenset({502, 503, 504})


class KeyedRequest(msgspec.Struct):
    """A request of one customer, which can be sent several times with one idempotency key.

    Every 201 must name the same `id`.
    `replayed`: the first 201 was a replay, so an earlier attempt had succeeded although it seemed to fail.
    `unexplained`: responses with a status that no failing part explains.
    `conflicting_ids`: ids that differ from the first one.
    """

    user_id: str
    path: str
    body: dict[str, Any] | None = None
    key: str = msgspec.field(default_factory=lambda: uuid4().hex)
    id: str | None = None
    replayed: bool = False
    answered_at: float = 0.0
    outcomes: list[Outcome] = []
    unexplained: list[str] = []
    conflicting_ids: list[str] = []

    async def send(self, session: aiohttp.ClientSession, url: str) -> Outcome:
        outcome = await self._send(session, url)
        self.outcomes.append(outcome)
        if outcome == "ok" and not self.answered_at:
            self.answered_at = asyncio.get_running_loop().time()
        return outcome

    async def _send(self, session: aiohttp.ClientSession, url: str) -> Outcome:
        headers = {"X-User-Id": self.user_id, "Idempotency-Key": self.key}
        timeout = aiohttp.ClientTimeout(total=RESPONSE_TIMEOUT_SECONDS)
        try:
            async with session.post(url + self.path, json=self.body, headers=headers, timeout=timeout) as response:
                if response.status == 201:
                    self.replayed |= self.id is None and "Idempotency-Replayed" in response.headers
                    return self._succeeded(await response.json())
                if response.status == 409 and self._may_exist_already():
                    return self._succeeded({"user_id": self.user_id})
                if response.status in UNKNOWN_OUTCOME:
                    return "unknown"
                self.unexplained.append(f"{self.path}: {response.status} {await response.text()}")
                return "failed"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "unknown"

    def _may_exist_already(self) -> bool:
        """Returns whether an earlier attempt can have opened this account."""
        return self.path == ACCOUNT and bool(self.outcomes)

    def _succeeded(self, body: dict[str, Any]) -> Outcome:
        response_id = str(body.get("id", body.get("user_id")))
        if self.id is None:
            self.id = response_id
        elif self.id != response_id:
            self.conflicting_ids.append(response_id)
        return "ok"


def tally(requests: list[KeyedRequest]) -> dict[str, int]:
    """Counts the outcomes of first attempts, the repeated requests, and the repeated ones that had succeeded."""
    first = Counter(request.outcomes[0] for request in requests if request.outcomes)
    repeated = [request for request in requests if len(request.outcomes) > 1]
    succeeded = Counter(request.outcomes[0] for request in repeated if request.replayed)
    counts = {f"{outcome} but succeeded": count for outcome, count in succeeded.items()}
    return {**first, "repeated": len(repeated), **counts}
