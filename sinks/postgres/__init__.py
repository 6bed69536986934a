"""PostgreSQL: the table of events, exact counters, the consumed offsets, the ledger of dead letters.

Statements live in `sql/`, the schema in `migrations/`. psycopg is imported nowhere else.
"""
