from orders.models import metadata
from shopkit.schema import run_migrations

run_migrations(metadata)
