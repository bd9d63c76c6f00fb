"""Runs every command that README.md, CONTRIBUTING.md and docs/*.md show, as a reader would.

The blocks of a document run one after the other in one `bash -e` at the root of this clone, with a moment between
two of them. A document fails when

- a command fails, or curl gets an error that the block after it does not show;
- the block of JSON or text that follows a block is not what it prints (`shapes.py` says what may differ);
- a block is not run and does not say why, in a comment directly above it:
  `<!-- not run here: reason -->`. A reason that names `.ci/run` has to be true: its lines stand there.

The shop of this clone is started and removed on the way, so there must be none, and none is left. With
GOZON_PORT and GOZON_BASE_PORT it is started on other ports, and the commands are changed accordingly.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from types import FrameType

from docs.tools.blocks import Block, Unclear, blocks
from docs.tools.shapes import differing, json_values, text_matches

ROOT = Path(__file__).parents[2]
SHOP = ROOT / ".run" / "shop"
MOMENT = 1.0
# How long a command that only asks is repeated while its output is not the expected one.
REPEATED_SECONDS = 10.0
ASKING, CHANGING = re.compile(r"curl |\w+=\$\(curl "), re.compile(r" -X | -d ")
PATIENCE = 240.0
# What curl says goes to the block's output, and its status beside it.
PRELUDE = r"""
curl() { command curl -sS -w '%{stderr}status %{http_code}\n' "$@"; }
"""


class Wrong(Exception):
    """What a document says is not so."""


class Bash:
    """One `bash -e` that is given a block at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        script, self._script = os.pipe()
        self._ended, ended = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-e", f"/dev/fd/{script}"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=(script, ended),
            start_new_session=True,
        )
        os.close(script)
        os.close(ended)
        self._mark = f"printf . >&{ended}\n"
        self._say(PRELUDE)

    def run(self, commands: str) -> tuple[str, str]:
        """Its standard output and its standard error. Raises Wrong when a command fails or takes too long."""
        output, errors = self._folder / "output", self._folder / "errors"
        self._say(f"exec >{output} 2>{errors}\n{commands}{self._mark}")
        late = time.monotonic() + PATIENCE
        while not select.select([self._ended], [], [], 0.1)[0]:
            if time.monotonic() > late:
                raise Wrong(f"not done after {PATIENCE:.0f} s")
        if not os.read(self._ended, 1):  # it ended without the mark
            said = output.read_text() + errors.read_text()
            raise Wrong(f"a command failed with status {self._process.wait()}\n{said[-4000:]}")
        return output.read_text(), errors.read_text()

    def end(self) -> None:
        os.close(self._script)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        os.close(self._ended)

    def _say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._script, text.encode())


def run(path: Path) -> list[Block]:
    """Returns the blocks that were not run."""
    skipped: list[Block] = []
    with _bash() as bash:
        for block in blocks(path):
            if block.reason is not None:
                _stands_in_ci(block)
                skipped.append(block)
                continue
            time.sleep(MOMENT)
            started = time.monotonic()
            try:
                _look(block, bash)
            except Wrong as wrong:
                raise Wrong(f"{block.place}: {wrong}\n\n{block.commands}") from wrong
            print(f"  {block.place:<24} {time.monotonic() - started:5.1f} s  {block.lines()[0][:72]}", flush=True)
    return skipped


@contextlib.contextmanager
def _bash() -> Generator[Bash]:
    with tempfile.TemporaryDirectory() as folder:
        bash = Bash(Path(folder))
        try:
            yield bash
        finally:
            bash.end()


def _look(block: Block, bash: Bash) -> None:
    """What only asks is asked again for a while: an order takes its time to be paid."""
    late = time.monotonic() + REPEATED_SECONDS
    while True:
        outputs = bash.run(here(block.commands))
        try:
            return _check(block, *outputs)
        except Wrong:
            if not ASKING.match(block.commands) or CHANGING.search(block.commands) or time.monotonic() > late:
                raise
        time.sleep(MOMENT)


def _check(block: Block, output: str, errors: str) -> None:
    shown = here(block.shown)
    statuses = [int(status) for status in re.findall(r"^status (\d+)$", errors, re.MULTILINE)]
    refused = [status for status in statuses if status >= 400]
    expected = list(_problems(json_values(shown))) if block.kind == "json" else []
    if refused != expected:
        raise Wrong(f"curl was answered with {refused}, and {expected} was to be expected\n{output}")
    if block.kind == "text" and not text_matches(shown, output):
        raise Wrong(f"it printed\n{output}")
    if block.kind == "json":
        wrong = list(differing(json_values(shown), json_values(output)))
        if wrong:
            raise Wrong("\n".join([*wrong, output]))


def _problems(values: Iterable[dict[str, object]]) -> Iterable[object]:
    return (value["status"] for value in values if str(value.get("type")).startswith("urn:gozon:problem:"))


def here(text: str) -> str:
    """With the ports of this run."""
    entrance, base = os.environ.get("GOZON_PORT") or "8080", int(os.environ.get("GOZON_BASE_PORT") or 18000)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{entrance}")
    return re.sub(r"127\.0\.0\.1:18(\d{3})", lambda port: f"127.0.0.1:{base + int(port[1])}", text)


def _stands_in_ci(block: Block) -> None:
    if "`.ci/run`" in (block.reason or ""):
        ci = (ROOT / ".ci" / "run").read_text()
        missing = [line for line in block.lines() if line not in ci]
        if missing:
            raise Wrong(f"{block.place}: these lines do not stand in .ci/run: {missing}")


def main() -> None:
    if SHOP.exists():
        sys.exit("this clone has a shop, whose data would be removed: `make clean` removes it")
    signal.signal(signal.SIGTERM, _terminated)
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    skipped: list[Block] = []
    try:
        for path in paths:
            print(path.relative_to(ROOT), flush=True)
            skipped += run(path)
    except (Wrong, Unclear) as wrong:
        sys.exit(f"\n{wrong}")
    finally:
        subprocess.run([sys.executable, "deploy/local/shop.py", "clean"], cwd=ROOT, check=False)
    print("not run:")
    for block in skipped:
        print(f"  {block.place:<24} {block.lines()[0][:60]}: {block.reason}")


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
