"""Runs every command of README.md, CONTRIBUTING.md and docs/*.md like a reader, and checks the shown output.

The blocks of a document run one after another in one `bash -e` at the root of this clone, with a pause between
them. A document fails in these cases:

- A command fails, or curl gets an error that the document does not show after the block.
- The output differs from the block of JSON or text after the commands. `output_comparison.py` ignores ids.
- A block is skipped without a reason. The reason is a comment directly above: `<!-- not run here: reason -->`.
  If the reason names `.ci/run`, that script must contain the lines of the block.

The commands start and delete the shop of this clone, so it must have none before. GOZON_PORT and GOZON_BASE_PORT
select other ports, also in the commands.
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

from docs.tools.blocks import Block, InvalidBlock, blocks
from docs.tools.output_comparison import differences, json_values, text_matches

ROOT = Path(__file__).parents[2]
SHOP = ROOT / ".run" / "shop"
PAUSE_SECONDS = 1.0
# For this time a command that only reads is repeated while its output differs.
RETRY_SECONDS = 10.0
READING, CHANGING = re.compile(r"curl |\w+=\$\(curl "), re.compile(r" -X | -d ")
BLOCK_SECONDS = 240.0
# curl writes its response to stdout and the HTTP status to stderr.
PRELUDE = r"""
curl() { command curl -sS -w '%{stderr}status %{http_code}\n' "$@"; }
"""


class DocumentError(Exception):
    """A document does not match reality."""


class Bash:
    """A `bash -e` that runs one block after another."""

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
        self._write(PRELUDE)

    def run(self, commands: str) -> tuple[str, str]:
        """Returns the output and the error output. Raises DocumentError if a command fails or takes too long."""
        output, errors = self._folder / "output", self._folder / "errors"
        self._write(f"exec >{output} 2>{errors}\n{commands}{self._mark}")
        deadline = time.monotonic() + BLOCK_SECONDS
        while not select.select([self._ended], [], [], 0.1)[0]:
            if time.monotonic() > deadline:
                raise DocumentError(f"still running after {BLOCK_SECONDS:.0f} s")
        if not os.read(self._ended, 1):  # bash has exited
            printed = output.read_text() + errors.read_text()
            raise DocumentError(f"a command failed with status {self._process.wait()}\n{printed[-4000:]}")
        return output.read_text(), errors.read_text()

    def end(self) -> None:
        os.close(self._script)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        os.close(self._ended)

    def _write(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._script, text.encode())


def run(path: Path) -> list[Block]:
    """Runs the blocks of a document. Returns the skipped ones. Raises DocumentError or InvalidBlock."""
    skipped: list[Block] = []
    with _bash() as bash:
        for block in blocks(path):
            if block.reason is not None:
                _check_in_ci(block)
                skipped.append(block)
                continue
            time.sleep(PAUSE_SECONDS)
            started = time.monotonic()
            try:
                _run_block(block, bash)
            except DocumentError as error:
                raise DocumentError(f"{block.place}: {error}\n\n{block.commands}") from error
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


def _run_block(block: Block, bash: Bash) -> None:
    """Runs a block and checks its output. Repeats a block that only reads: an order takes a moment to be paid."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        outputs = bash.run(with_current_ports(block.commands))
        try:
            return _check(block, *outputs)
        except DocumentError:
            if not READING.match(block.commands) or CHANGING.search(block.commands) or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def _check(block: Block, output: str, errors: str) -> None:
    shown = with_current_ports(block.shown)
    statuses = [int(status) for status in re.findall(r"^status (\d+)$", errors, re.MULTILINE)]
    errors_of_curl = [status for status in statuses if status >= 400]
    expected = list(_problems(json_values(shown))) if block.kind == "json" else []
    if errors_of_curl != expected:
        raise DocumentError(f"curl got the errors {errors_of_curl} instead of {expected}\n{output}")
    if block.kind == "text" and not text_matches(shown, output):
        raise DocumentError(f"the output was\n{output}")
    if block.kind == "json":
        different = list(differences(json_values(shown), json_values(output)))
        if different:
            raise DocumentError("\n".join([*different, output]))


def _problems(values: Iterable[dict[str, object]]) -> Iterable[object]:
    return (value["status"] for value in values if str(value.get("type")).startswith("urn:gozon:problem:"))


def with_current_ports(text: str) -> str:
    """Replaces the default ports by those of this run."""
    entrance, base = os.environ.get("GOZON_PORT") or "8080", int(os.environ.get("GOZON_BASE_PORT") or 18000)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{entrance}")
    return re.sub(r"127\.0\.0\.1:18(\d{3})", lambda port: f"127.0.0.1:{base + int(port[1])}", text)


def _check_in_ci(block: Block) -> None:
    if "`.ci/run`" in (block.reason or ""):
        ci = (ROOT / ".ci" / "run").read_text()
        missing = [line for line in block.lines() if line not in ci]
        if missing:
            raise DocumentError(f"{block.place}: .ci/run lacks these lines: {missing}")


def main() -> None:
    if SHOP.exists():
        sys.exit(
            "this clone has a shop, whose data this command would delete; delete it yourself with `make clean`"
        )
    signal.signal(signal.SIGTERM, _terminated)
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    skipped: list[Block] = []
    try:
        for path in paths:
            print(path.relative_to(ROOT), flush=True)
            skipped += run(path)
    except (DocumentError, InvalidBlock) as error:
        sys.exit(f"\n{error}")
    finally:
        subprocess.run([sys.executable, "deploy/local/shop.py", "clean"], cwd=ROOT, check=False)
    print("skipped:")
    for block in skipped:
        print(f"  {block.place:<24} {block.lines()[0][:60]}: {block.reason}")


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
