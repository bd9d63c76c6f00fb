"""What documents say one can type is run, and what they do not say is noticed."""

import subprocess
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from docs.tools.blocks import Unclear, blocks
from docs.tools.commands import Wrong, here, run
from docs.tools.shapes import differing, json_values, text_matches
from tests.fresh.__main__ import first_order

FENCE = "```"


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("docs.tools.commands.MOMENT", 0)
    monkeypatch.setattr("docs.tools.commands.REPEATED_SECONDS", 0.5)
    return tmp_path / "page.md"


def sh(commands: str, shown: str = "", kind: str = "text", above: str = "") -> str:
    output = f"\n{FENCE}{kind}\n{shown}\n{FENCE}\n" if shown else ""
    return f"{above}{FENCE}sh\n{commands}\n{FENCE}\n{output}\nSome words.\n\n"


def test_blocks_share_one_session(document: Path) -> None:
    document.write_text(sh("it=8\ncd /tmp") + sh('echo "$it in $PWD"', "8 in /tmp"))
    assert run(document) == []


def test_another_output_is_noticed(document: Path) -> None:
    document.write_text(sh("echo yes") + sh("echo yes", "no"))
    with pytest.raises(Wrong, match=r"page\.md:8: it printed\nyes"):
        run(document)


@pytest.mark.parametrize("command", ["false", "exit 3", "ls /nowhere", "false; echo later"])
def test_a_command_that_fails_is_noticed(document: Path, command: str) -> None:
    document.write_text(sh(command) + sh("echo later", "later"))
    with pytest.raises(Wrong, match=r"page\.md:2: a command failed with status"):
        run(document)


def test_a_command_that_does_not_end_is_ended(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.tools.commands.PATIENCE", 1)
    pid = document.with_name("pid")
    document.write_text(sh(f"echo $$ > {pid}\nsleep 600"))
    with pytest.raises(Wrong, match="not done"):
        run(document)
    late = time.monotonic() + 10
    while Path(f"/proc/{pid.read_text().strip()}").exists():
        assert time.monotonic() < late
        time.sleep(0.05)


def test_a_block_is_left_out_only_for_a_reason(document: Path) -> None:
    document.write_text(sh("false", above="<!-- not run here: it fails -->\n"))
    (left_out,) = run(document)
    assert (left_out.reason, left_out.lines()) == ("it fails", ["false"])


@pytest.mark.parametrize(
    "text",
    [
        sh("true", above="<!-- not run here: -->\n"),
        sh("true", above="<!-- not run here: a reason too far away -->\n\n"),
        f"{FENCE}bash\ntrue\n{FENCE}\n",
        f"1. In a list\n   {FENCE}sh\n   true\n   {FENCE}\n",
    ],
)
def test_what_would_neither_be_run_nor_explained_is_refused(document: Path, text: str) -> None:
    document.write_text(text)
    with pytest.raises(Unclear):
        list(blocks(document))


def test_what_is_said_to_be_run_by_ci_stands_there(document: Path) -> None:
    reason = "<!-- not run here: `.ci/run` runs it -->\n"
    document.write_text(sh("make test    # all of them", above=reason))
    assert len(run(document)) == 1
    document.write_text(sh("make coffee", above=reason))
    with pytest.raises(Wrong, match="make coffee"):
        run(document)


class Refusing(BaseHTTPRequestHandler):
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
    ("status", "shown", "fits"),
    [
        (200, '{"ok":true}', True),
        (404, PROBLEM, True),
        (404, "", False),
        (404, '{"ok":true}', False),
        (200, PROBLEM, False),
        (409, PROBLEM, False),
    ],
)
def test_curl_may_be_refused_only_where_that_is_shown(document: Path, status: int, shown: str, fits: bool) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        document.write_text(sh(f"curl http://127.0.0.1:{server.server_port}/{status}", shown, "json"))
        try:
            if fits:
                assert run(document) == []
            else:
                with pytest.raises(Wrong, match="curl was answered"):
                    run(document)
        finally:
            server.shutdown()


def test_what_only_asks_is_asked_until_it_is_so(document: Path) -> None:
    class Late(Refusing):
        asked = 0

        def do_GET(self) -> None:
            Late.asked += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status":"NEW"}' if Late.asked < 3 else b'{"status":"FINISHED"}')

    with HTTPServer(("127.0.0.1", 0), Late) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        document.write_text(sh(f"curl http://127.0.0.1:{server.server_port}/1", '{"status":"FINISHED"}', "json"))
        try:
            assert run(document) == []
        finally:
            server.shutdown()
    assert Late.asked == 3


def test_ports_are_those_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "http://127.0.0.1:8080 http://127.0.0.1:18101/health"
    monkeypatch.delenv("GOZON_PORT", raising=False)
    monkeypatch.delenv("GOZON_BASE_PORT", raising=False)
    assert here(text) == text
    monkeypatch.setenv("GOZON_PORT", "8181")
    monkeypatch.setenv("GOZON_BASE_PORT", "27000")
    assert here(text) == "http://127.0.0.1:8181 http://127.0.0.1:27101/health"


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ('{"id":"a1","n":1}', '{"id":"b2","n":1}'),
        ('{"o":1795412226274}', '{"o":1795412229282}'),
        ('{"a":1} {"a":2}', '{"a":1}{"a":2}\n'),
        ('[{"hop":"accepted","replica":"orders-1"}]', '[{"hop":"accepted","replica":"orders-2"}]'),
    ],
)
def test_what_differs_every_time_may_differ(shown: str, real: str) -> None:
    assert list(differing(json_values(shown), json_values(real))) == []


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
def test_nothing_else_may_differ(shown: str, real: str) -> None:
    assert list(differing(json_values(shown), json_values(real)))


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
def test_text_is_compared_word_by_word_and_dots_stand_for_lines(shown: str, real: str, matches: bool) -> None:
    assert text_matches(shown, real) is matches


def test_the_first_order_of_the_readme_is_found_for_a_fresh_machine() -> None:
    script = first_order()
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    places = [script.index(words) for words in ("payments/account/top-ups", "felt boots", "limit=1", "a samovar")]
    assert places == sorted(places)
    assert "make " not in script
