"""Servers that speak PostgreSQL's protocol and are none: recognised, so that they can be refused by name."""

from __future__ import annotations

_BY_VERSION = {
    "CockroachDB": "CockroachDB", "-YB-": "YugabyteDB", "DSQL": "Aurora DSQL", "Redshift": "Redshift",
    "Greenplum": "Greenplum", "Materialize": "Materialize", "RisingWave": "RisingWave",
}  # fmt: skip
"""Part of what ``version()`` returns -> the server."""
_DSQL_HOST = (".dsql.", ".on.aws")
CITUS = "Citus, and events is one of its distributed tables"
IS_DISTRIBUTED = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrel = to_regclass('events'))"
"""A query for a database that has the extension. Tables that Citus does not know are PostgreSQL's own."""


def other_server(version: str, host: str = "") -> str | None:
    """Return the name of a server that is no PostgreSQL, from what ``version()`` returns and its host name."""
    if _DSQL_HOST[0] in host and host.endswith(_DSQL_HOST[1]):
        return "Aurora DSQL"
    return next((name for part, name in _BY_VERSION.items() if part in version), None)
