"""Other programs, which do not outlive who waits for them."""

from asyncio.subprocess import Process


async def ended(process: Process, given: bytes | None = None) -> tuple[bytes, bytes]:
    """What it has said until its end."""
    try:
        return await process.communicate(given)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
