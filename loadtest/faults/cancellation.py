"""Lets a run that a signal ends still stop its servers and write its report."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` like asyncio.run. The first signal cancels `work`; later signals do not interrupt its cleanup."""
    try:
        return asyncio.run(_cancelled_by_signals(work))
    except asyncio.CancelledError as error:
        raise SystemExit("ended by a signal") from error


async def _cancelled_by_signals(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, _cancel_once, task)
    return await task


def _cancel_once(task: asyncio.Task[Any]) -> None:
    if not task.cancelling():
        task.cancel()


async def finish_even_if_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end, also if the caller is cancelled meanwhile. Then raises the CancelledError."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
