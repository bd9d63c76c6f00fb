"""Runs the commands of `python -m gozon` like an operator."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

from gozon.__main__ import parser
from shopkit.dead_letters.command import run
from tests.fork_server import FORK_SERVER


class Outcome(NamedTuple):
    status: int
    output: str
    complaints: str

    def letters(self) -> list[dict[str, Any]]:
        """Returns the dead letters that `list --json` has printed."""
        assert (self.status, self.complaints) == (0, "")
        return [json.loads(line) for line in self.output.splitlines()]


async def dead_letters(*words: str) -> Outcome:
    output, complaints = io.StringIO(), io.StringIO()
    options = parser().parse_args(["dead-letters", *words])
    with redirect_stdout(output), redirect_stderr(complaints):
        status = await run(options)
    return Outcome(status, output.getvalue(), complaints.getvalue())


async def dead_letters_process(*words: str, **environment: str) -> Outcome:
    return await shopkit_process("dead-letters", *words, **environment)


async def shopkit_process(*words: str, **environment: str) -> Outcome:
    result = await FORK_SERVER.run("gozon", *words, environment={"PATH": os.environ["PATH"], **environment})
    return Outcome(*result)
