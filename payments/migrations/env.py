from payments.models import metadata
from shopkit.db.migrations import run_migrations

run_migrations(metadata)
