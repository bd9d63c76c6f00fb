"""The check that every request of a generator process gets the expected response."""

from collections import Counter

from loadtest.load.checks import CheckResult


class ResponseChecks:
    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.verdict = CheckResult("answers", "Every request got the expected response.")

    def passed(self) -> None:
        self.verdict.record(1, ())

    def failed(self, what: str, user_id: str, request: bytes, status: int, body: bytes) -> None:
        """Records a wrong status. Status 0 means that there was no response, and `body` gives the reason."""
        self._record(f"{what}: {status or body.decode()}", user_id, request, status, body)

    def wrong_body(self, what: str, user_id: str, request: bytes, status: int, body: bytes) -> None:
        """Records an expected status with a wrong body."""
        self._record(f"{what}: {status} with a wrong body", user_id, request, status, body)

    def _record(self, kind: str, user_id: str, request: bytes, status: int, body: bytes) -> None:
        self.errors[kind] += 1
        line, _, _ = request.partition(b" HTTP/1.1")
        answer = body[:300].decode(errors="replace")
        offence = {"user": user_id, "request": line.decode(), "status": status, "answer": answer}
        self.verdict.record(1, [offence])
