"""`python -m gozon migrate`: migrates the database of a service, for replicas that run with MIGRATE=off."""

import os
import sys
from argparse import ArgumentParser, Namespace

from shopkit.db.migrations import migrate
from shopkit.runtime.retry import is_transient

HELP = "migrate a database to the newest schema that this release knows"


def add_arguments(parser: ArgumentParser) -> None:
    database = os.environ.get("DATABASE_URL")
    parser.add_argument("service", choices=("orders", "payments"), help="the service whose migrations run")
    parser.add_argument(
        "--database", default=database, required=not database, help="database URL; the default is DATABASE_URL"
    )


async def run(options: Namespace) -> int:
    """Returns the exit status: 0 if the database is migrated, 1 after a transient error."""
    try:
        revision = await migrate(options.database, options.service)
    except Exception as error:
        if not is_transient(error):
            raise
        print(f"not migrated: {error}", file=sys.stderr)
        return 1
    print(f"{options.service} is at {revision}")
    return 0
