"""`python -m gozon dead-letters`: the actions of its verbs, and their exit status.

DONE (0): all letters were processed. FAILED (1): a letter was not found or already resolved, or a server failed.
UNUSABLE (2): the command cannot be carried out with these arguments.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import asyncpg
import msgspec
from sqlalchemy.exc import SQLAlchemyError

from shopkit.dead_letters import broker, database, text
from shopkit.dead_letters.letter import Letter, LetterFilter, Letters, Resolution, UsageError
from shopkit.messaging.broker import RabbitMQ, translate_broker_errors

DONE, FAILED, UNUSABLE = 0, 1, 2


async def run(options: Namespace) -> int:
    """Returns the exit status."""
    try:
        with translate_broker_errors():
            return await _run(options)
    except UsageError as error:
        _print_error(str(error))
        return UNUSABLE
    except (OSError, SQLAlchemyError, asyncpg.PostgresError) as error:
        _print_error(f"stopped: {error}")
        return FAILED


async def _run(options: Namespace) -> int:
    wanted = msgspec.convert(vars(options), LetterFilter)
    if options.verb in ("replay", "discard") and wanted == LetterFilter() and not options.all:
        raise UsageError("no letter is selected: give ids, a filter, or --all")
    async with AsyncExitStack() as stack:
        stores = await _stores(options, stack)
        if options.verb == "list":
            return await _list(stores, wanted, options)
        if options.verb == "show":
            return await _show(stores, wanted)
        return await _resolve(stores, wanted, options)


async def _stores(options: Namespace, stack: AsyncExitStack) -> list[Letters]:
    if not options.broker and not options.database:
        raise UsageError(
            "no broker and no database: give --broker or --database, or set BROKER_URL or DATABASE_URL"
        )
    stores: list[Letters] = []
    if options.broker:
        stores.append(await stack.enter_async_context(broker.opened(RabbitMQ(options.broker, options.topology))))
    if options.database:
        letters = await stack.enter_async_context(database.opened(options.database))
        if letters is None:
            _print_error("the database has no table dead_letters")
        else:
            stores.append(letters)
    return stores


async def _list(stores: list[Letters], wanted: LetterFilter, options: Namespace) -> int:
    found = _found(stores, wanted, options.limit, resolved=options.resolved)
    letters = [letter async for _, letter in found]
    if options.json:
        for letter in letters:
            print(text.json_line(letter))
    else:
        print(text.table(letters))
    return DONE


async def _show(stores: list[Letters], wanted: LetterFilter) -> int:
    for resolved in (False, True):
        async with aclosing(_found(stores, wanted, 1, resolved=resolved)) as found:
            async for _, letter in found:
                print(text.everything(letter))
                return DONE
    return _missing(wanted.ids)


async def _resolve(stores: list[Letters], wanted: LetterFilter, options: Namespace) -> int:
    what = "replayed" if options.verb == "replay" else "discarded"
    resolution = Resolution(what, options.by, options.note)
    missing, status = set(wanted.ids), DONE
    async with aclosing(_found(stores, wanted, options.limit, resolved=False)) as found:
        async for store, letter in found:
            missing.discard(letter.id)
            if options.dry_run:
                print(f"would be {what}: {text.line(letter)}")
            elif await store.resolve(letter, resolution):
                print(f"{what}: {text.line(letter)}", flush=True)
                await asyncio.sleep(1 / options.rate)
            else:
                _print_error(f"already resolved by another command: {letter.id}")
                status = FAILED
    return _missing(missing) or status


async def _found(
    stores: list[Letters], wanted: LetterFilter, limit: int, *, resolved: bool
) -> AsyncGenerator[tuple[Letters, Letter]]:
    for store in stores:
        async with aclosing(store.read(wanted, resolved=resolved)) as letters:
            async for letter in letters:
                if wanted.matches(letter):
                    yield store, letter
                    limit -= 1
                    if not limit:
                        return


def _missing(ids: set[str] | frozenset[str]) -> int:
    for letter_id in sorted(ids):
        _print_error(f"not found, or held by another command: {letter_id}")
    return FAILED if ids else DONE


def _print_error(text: str) -> None:
    print(text, file=sys.stderr)
