"""What became of all requests of a process: how many were answered as they should be, and which were not."""

from collections import Counter

from loadtest.load.checks import CheckResult


class Answers:
    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.verdict = CheckResult("answers", "Every request was answered, as it should be.")

    def good(self) -> None:
        self.verdict.look(1, ())

    def failed(self, what: str, user_id: str, request: bytes, status: int, body: bytes) -> None:
        """Status 0 says that no answer came, and `body` why."""
        self._bad(f"{what}: {status or body.decode()}", user_id, request, status, body)

    def wrong(self, what: str, user_id: str, request: bytes, status: int, body: bytes) -> None:
        """The status is as it should be, and the body is not."""
        self._bad(f"{what}: {status} with a wrong body", user_id, request, status, body)

    def _bad(self, kind: str, user_id: str, request: bytes, status: int, body: bytes) -> None:
        self.errors[kind] += 1
        line, _, _ = request.partition(b" HTTP/1.1")
        answer = body[:300].decode(errors="replace")
        offence = {"user": user_id, "request": line.decode(), "status": status, "answer": answer}
        self.verdict.look(1, [offence])
