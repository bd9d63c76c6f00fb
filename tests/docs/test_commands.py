"""The tool docs.tools.commands runs the commands of a document and reports differences from it."""

import subprocess
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from docs.tools.blocks import InvalidBlock, blocks
from docs.tools.commands import DocumentError, run, with_current_ports
from docs.tools.output_comparison import differences, json_values, text_matches
from tests.fresh.__main__ import first_order

FENCE = "```"


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("docs.tools.commands.PAUSE_SECONDS", 0)
    monkeypatch.setattr("docs.tools.commands.RETRY_SECONDS", 0.5)
    return tmp_path / "page.md"


def sh(commands: str, shown: str = "", kind: str = "text", above: str = "") -> str:
    output = f"\n{FENCE}{kind}\n{shown}\n{FENCE}\n" if shown else ""
    return f"{above}{FENCE}sh\n{commands}\n{FENCE}\n{output}\nSome words.\n\n"


def test_blocks_run_in_one_shell(document: Path) -> None:
    document.write_text(sh("number=8\ncd /tmp") + sh('echo "$number in $PWD"', "8 in /tmp"))
    assert run(document) == []


def test_a_different_output_is_reported(document: Path) -> None:
    document.write_text(sh("echo yes") + sh("echo yes", "no"))
    with pytest.raises(DocumentError, match=r"page\.md:8: the output was\nyes"):
        run(document)


@pytest.mark.parametrize("command", ["false", "exit 3", "ls /nowhere", "false; echo later"])
def test_a_failing_command_is_reported(document: Path, command: str) -> None:
    document.write_text(sh(command) + sh("echo later", "later"))
    with pytest.raises(DocumentError, match=r"page\.md:2: a command failed with status"):
        run(document)


def test_a_command_that_does_not_end_is_killed(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.tools.commands.BLOCK_SECONDS", 1)
    pid = document.with_name("pid")
    document.write_text(sh(f"echo $$ > {pid}\nsleep 600"))
    with pytest.raises(DocumentError, match="still running"):
        run(document)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid.read_text().strip()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_block_with_a_reason_is_skipped(document: Path) -> None:
    document.write_text(sh("false", above="<!-- not run here: it fails -->\n"))
    (skipped,) = run(document)
    assert (skipped.reason, skipped.lines()) == ("it fails", ["false"])


@pytest.mark.parametrize(
    "text",
    [
        sh("true", above="<!-- not run here: -->\n"),
        sh("true", above="<!-- not run here: this comment is not directly above -->\n\n"),
        f"{FENCE}bash\ntrue\n{FENCE}\n",
        f"1. In a list\n   {FENCE}sh\n   true\n   {FENCE}\n",
    ],
)
def test_a_block_that_is_neither_run_nor_skipped_with_a_reason_is_rejected(document: Path, text: str) -> None:
    document.write_text(text)
    with pytest.raises(InvalidBlock):
        list(blocks(document))


def test_a_block_that_ci_runs_must_be_in_its_script(document: Path) -> None:
    reason = "<!-- not run here: `.ci/run` runs it -->\n"
    document.write_text(sh("make test    # all of them", above=reason))
    assert len(run(document)) == 1
    document.write_text(sh("make coffee", above=reason))
    with pytest.raises(DocumentError, match="make coffee"):
        run(document)


class StatusFromPath(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = int(self.path[1:])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(
            b'{"type":"urn:gozon:problem:x","status":%d}' % status if status >= 400 else b'{"ok":true}'
        )

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


PROBLEM = '{"type":"urn:gozon:problem:x","status":404}'


@pytest.mark.parametrize(
    ("status", "shown", "accepted"),
    [
        (200, '{"ok":true}', True),
        (404, PROBLEM, True),
        (404, "", False),
        (404, '{"ok":true}', False),
        (200, PROBLEM, False),
        (409, PROBLEM, False),
    ],
)
def test_curl_may_get_an_error_only_where_the_document_shows_it(
    document: Path, status: int, shown: str, accepted: bool
) -> None:
    with HTTPServer(("127.0.0.1", 0), StatusFromPath) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        document.write_text(sh(f"curl http://127.0.0.1:{server.server_port}/{status}", shown, "json"))
        try:
            if accepted:
                assert run(document) == []
            else:
                with pytest.raises(DocumentError, match="curl got the errors"):
                    run(document)
        finally:
            server.shutdown()


def test_a_get_request_is_repeated_until_the_output_matches(document: Path) -> None:
    class EventuallyFinished(StatusFromPath):
        requests = 0

        def do_GET(self) -> None:
            EventuallyFinished.requests += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status":"NEW"}' if EventuallyFinished.requests < 3 else b'{"status":"FINISHED"}')

    with HTTPServer(("127.0.0.1", 0), EventuallyFinished) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        document.write_text(sh(f"curl http://127.0.0.1:{server.server_port}/1", '{"status":"FINISHED"}', "json"))
        try:
            assert run(document) == []
        finally:
            server.shutdown()
    assert EventuallyFinished.requests == 3


def test_ports_are_replaced_by_those_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "http://127.0.0.1:8080 http://127.0.0.1:18101/health"
    monkeypatch.delenv("GOZON_PORT", raising=False)
    monkeypatch.delenv("GOZON_BASE_PORT", raising=False)
    assert with_current_ports(text) == text
    monkeypatch.setenv("GOZON_PORT", "8181")
    monkeypatch.setenv("GOZON_BASE_PORT", "27000")
    assert with_current_ports(text) == "http://127.0.0.1:8181 http://127.0.0.1:27101/health"


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ('{"id":"a1","n":1}', '{"id":"b2","n":1}'),
        ('{"o":1795412226274}', '{"o":1795412229282}'),
        ('{"a":1} {"a":2}', '{"a":1}{"a":2}\n'),
        ('[{"hop":"accepted","replica":"orders-1"}]', '[{"hop":"accepted","replica":"orders-2"}]'),
    ],
)
def test_ids_offsets_and_replicas_may_differ(shown: str, real: str) -> None:
    assert list(differences(json_values(shown), json_values(real))) == []


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ('{"status":"NEW"}', '{"status":"FINISHED"}'),
        ('{"a":1}', '{"a":1,"b":2}'),
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ('{"amount":100}', '{"amount":200}'),
        ('{"a":[1]}', '{"a":[1,1]}'),
        ('{"id":"a1"}', '{"id":null}'),
        ('{"id":"a1"}', '{"id":"none"}'),
        ('{"a":true}', '{"a":false}'),
        ('{"a":1}', '{"a":1}{"a":1}'),
    ],
)
def test_other_values_must_be_equal(shown: str, real: str) -> None:
    assert list(differences(json_values(shown), json_values(real)))


@pytest.mark.parametrize(
    ("shown", "real", "matches"),
    [
        ("paid  3  ok", "paid       17  ok", True),
        ("paid  3  ok", "paid  3  OFFENDERS", False),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nd", True),
        ("a\n...", "a\nb\nc", True),
        ("a\n...\nd", "a\nb", False),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
    ],
)
def test_text_is_compared_by_words_and_dots_match_any_lines(shown: str, real: str, matches: bool) -> None:
    assert text_matches(shown, real) is matches


def test_the_script_for_a_fresh_machine_contains_the_first_order_of_the_readme() -> None:
    script = first_order()
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    positions = [
        script.index(words) for words in ("payments/account/top-ups", "felt boots", "limit=1", "a samovar")
    ]
    assert positions == sorted(positions)
    assert "make " not in script
