"""Statements whose error is a defect, by SQLSTATE: it is neither transient nor caused by an event."""

DEFECTS = {
    "42P01": "SELECT * FROM no_such_table",
    "42703": "SELECT no_such_column FROM outbox",
    "42501": "SET LOCAL ROLE pg_monitor; DELETE FROM outbox",
    "54001": "SELECT CAST(repeat('[', 100000) AS jsonb)",
}
