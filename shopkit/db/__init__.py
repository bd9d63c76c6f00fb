"""PostgreSQL: connections and transactions, migrations, and periodic work on tables.

A connection always leads to the primary. A transaction ends by commit or rollback, also when the caller is
cancelled. Knows no events and no tables of a service.
"""
