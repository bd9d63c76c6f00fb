"""`python -m gozon dead-letters`: what its verbs do, and with which exit status they end."""

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
        _complain(str(error))
        return UNUSABLE
    except (OSError, SQLAlchemyError, asyncpg.PostgresError) as error:
        _complain(f"stopped: {error}")
        return FAILED


async def _run(options: Namespace) -> int:
    wanted = msgspec.convert(vars(options), LetterFilter)
    if options.verb in ("replay", "discard") and wanted == LetterFilter() and not options.all:
        raise UsageError("no letter is named: give ids or a filter, or --all")
    async with AsyncExitStack() as stack:
        places = await _places(options, stack)
        if options.verb == "list":
            return await _list(places, wanted, options)
        if options.verb == "show":
            return await _show(places, wanted)
        return await _resolve(places, wanted, options)


async def _places(options: Namespace, stack: AsyncExitStack) -> list[Letters]:
    if not options.broker and not options.database:
        raise UsageError("nowhere to look: give --broker or --database, or set BROKER_URL or DATABASE_URL")
    places: list[Letters] = []
    if options.broker:
        places.append(await stack.enter_async_context(broker.opened(RabbitMQ(options.broker, options.topology))))
    if options.database:
        letters = await stack.enter_async_context(database.opened(options.database))
        if letters is None:
            _complain("the database has no table dead_letters")
        else:
            places.append(letters)
    return places


async def _list(places: list[Letters], wanted: LetterFilter, options: Namespace) -> int:
    found = _found(places, wanted, options.limit, resolved=options.resolved)
    letters = [letter async for _, letter in found]
    if options.json:
        for letter in letters:
            print(text.json_line(letter))
    else:
        print(text.table(letters))
    return DONE


async def _show(places: list[Letters], wanted: LetterFilter) -> int:
    for resolved in (False, True):
        async with aclosing(_found(places, wanted, 1, resolved=resolved)) as found:
            async for _, letter in found:
                print(text.everything(letter))
                return DONE
    return _missing(wanted.ids)


async def _resolve(places: list[Letters], wanted: LetterFilter, options: Namespace) -> int:
    what = "replayed" if options.verb == "replay" else "discarded"
    resolution = Resolution(what, options.by, options.note)
    missing, status = set(wanted.ids), DONE
    async with aclosing(_found(places, wanted, options.limit, resolved=False)) as found:
        async for place, letter in found:
            missing.discard(letter.id)
            if options.dry_run:
                print(f"would be {what}: {text.line(letter)}")
            elif await place.resolve(letter, resolution):
                print(f"{what}: {text.line(letter)}", flush=True)
                await asyncio.sleep(1 / options.rate)
            else:
                _complain(f"resolved by somebody else meanwhile: {letter.id}")
                status = FAILED
    return _missing(missing) or status


async def _found(
    places: list[Letters], wanted: LetterFilter, most: int, *, resolved: bool
) -> AsyncGenerator[tuple[Letters, Letter]]:
    for place in places:
        async with aclosing(place.read(wanted, resolved=resolved)) as letters:
            async for letter in letters:
                if wanted.takes(letter):
                    yield place, letter
                    most -= 1
                    if not most:
                        return


def _missing(ids: set[str] | frozenset[str]) -> int:
    for letter_id in sorted(ids):
        _complain(f"not found, or held by another command: {letter_id}")
    return FAILED if ids else DONE


def _complain(text: str) -> None:
    print(text, file=sys.stderr)
