"""PostgreSQL: connections and transactions, migrations, and periodic work on tables.

A connection always leads to the primary. A transaction ends by commit or rollback, also when the caller is
cancelled. The package knows no events. Of the tables of services it knows only `retention`, `inbox` and
`inbox_in_hand`.
"""
