"""Servers that speak PostgreSQL's protocol and are none. None of them can run here: what they say is written down."""

from __future__ import annotations

import pytest

from keepstream.sinks.postgres.pooled_connection import search_path_of
from keepstream.sinks.postgres.session import other_server


@pytest.mark.parametrize(
    ("version", "host", "name"),
    [
        ("CockroachDB CCL v25.4.14 (x86_64-pc-linux-gnu, built 2026/01/05, go1.23.7)", "db", "CockroachDB"),
        ("PostgreSQL 11.2-YB-2.20.1.3-b0 on x86_64-pc-linux-gnu, compiled by clang, 64-bit", "db", "YugabyteDB"),
        ("PostgreSQL 15.2-YB-2025.1.0.0-b0 on x86_64-pc-linux-gnu, 64-bit", "db", "YugabyteDB"),
        ("PostgreSQL 16", "abc123.dsql.us-east-1.on.aws", "Aurora DSQL"),
        (
            "PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0.75379",
            "db",
            "Redshift",
        ),
        ("PostgreSQL 13.14.0-RisingWave-2.0.1 (f6a1)", "db", "RisingWave"),
        ("PostgreSQL 18.4 on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0), 64-bit", "db", None),
        (
            "PostgreSQL 15.4 on aarch64-unknown-linux-gnu, compiled by gcc, 64-bit",
            "a.rds.amazonaws.com",
            None,
        ),
    ],
)
def test_a_server_that_is_no_postgresql_is_recognised(version: str, host: str, name: str | None) -> None:
    assert other_server(version, host) == name


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ("-c search_path=mine", "mine"),
        ("-csearch_path=mine,public -c work_mem=8MB", "mine,public"),
        (r"-c work_mem=8MB --search-path=a,\ b", "a, b"),
        ("-c search_path=first -c search_path=last", "last"),
        ("-c work_mem=8MB", None),
        ("", None),
    ],
)
def test_the_search_path_of_options_is_found(options: str, path: str | None) -> None:
    assert search_path_of(options) == path
