"""`python -m gozon migrate`: a service's migrations without the service, for replicas with MIGRATE=off."""

import os
import sys
from argparse import ArgumentParser, Namespace

from shopkit.db.migrations import migrate
from shopkit.runtime.retry import is_transient

HELP = "bring a database to the newest schema that this release knows, and end"


def add_arguments(parser: ArgumentParser) -> None:
    database = os.environ.get("DATABASE_URL")
    parser.add_argument("service", choices=("orders", "payments"), help="whose migrations")
    parser.add_argument(
        "--database", default=database, required=not database, help="address; otherwise DATABASE_URL"
    )


async def run(options: Namespace) -> int:
    """Returns the exit status: 1 when the database cannot be used now, and the same may succeed later."""
    try:
        revision = await migrate(options.database, options.service)
    except Exception as error:
        if not is_transient(error):
            raise
        print(f"not migrated: {error}", file=sys.stderr)
        return 1
    print(f"{options.service} is at {revision}")
    return 0
