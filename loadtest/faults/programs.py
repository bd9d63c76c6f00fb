"""Runs other programs, and stops them when the caller is cancelled."""

import asyncio
from typing import Any, NamedTuple


class ProgramResult(NamedTuple):
    """The exit status of a program. `output` is its stdout and `errors` its stderr, if they were piped."""

    status: int
    output: str
    errors: str


async def run_program(*command: object, stdin_data: bytes | None = None, **options: Any) -> ProgramResult:
    """Runs a program to its end. A Ctrl-C in the terminal reaches only this process, not the program."""
    process = await asyncio.create_subprocess_exec(*map(str, command), start_new_session=True, **options)
    try:
        output, errors = await process.communicate(stdin_data)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return ProgramResult(process.returncode or 0, (output or b"").decode(), (errors or b"").decode())
