"""Other programs, which do not outlive who waits for them."""

import asyncio
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """`said` and `errors` are what was piped of stdout and stderr."""

    status: int
    said: str
    errors: str


async def ended(*command: object, given: bytes | None = None, **how: Any) -> Ended:
    """Runs a program to its end, out of reach of the terminal's Ctrl-C, which is meant for the run."""
    process = await asyncio.create_subprocess_exec(*map(str, command), start_new_session=True, **how)
    try:
        said, errors = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return Ended(process.returncode or 0, (said or b"").decode(), (errors or b"").decode())
