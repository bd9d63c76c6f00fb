"""How far expired rows are removed."""

from sqlalchemy import Column, MetaData, Table, Text, Uuid


def table(metadata: MetaData) -> Table:
    """`done_up_to` is the last id, a UUIDv7, of the rows that were looked at."""
    return Table(
        "retention",
        metadata,
        Column("name", Text, primary_key=True),
        Column("done_up_to", Uuid, nullable=False),
    )
