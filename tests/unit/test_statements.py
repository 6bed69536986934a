"""The worker's statements as psycopg gets them."""

from __future__ import annotations

import re

import pytest

from keepstream.sinks.postgres import store
from keepstream.sinks.postgres.statements import MAX_CACHED_CHARS


@pytest.mark.parametrize(
    "name", ["SETTLE", "SETTLE_WITH_DEAD_LETTERS", "SETTLE_DEAD_LETTERS", "STORE", "COUNT", "PROBE"]
)
def test_each_is_short_enough_for_psycopgs_cache_and_has_no_open_fragment(name: str) -> None:
    query = getattr(store, name)
    assert len(query) <= MAX_CACHED_CHARS
    assert not re.search(r"{\w", query)
    assert "--" not in query
