from payments.models import metadata
from shopkit.db import run_migrations

run_migrations(metadata)
