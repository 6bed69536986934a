"""The text that fills a table, and what needs no server to be refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keepstream.app.config.table import TableSettings
from keepstream.sinks.postgres.tables.catalogue import Column, Index, Target, own_tables
from keepstream.sinks.postgres.tables.check import check_table, find_key
from keepstream.sinks.postgres.tables.definition import TableDefinition
from keepstream.sinks.postgres.tables.function import FillFunction

PRIMARY = Index("orders_pkey", True, True, True, False, False, ["event_id"])


def definition(**columns: str) -> TableDefinition:
    found = TableSettings(name="orders", columns=columns).definition()
    assert found is not None
    return found


def target(*columns: Column, indexes: Sequence[Index] = (PRIMARY,), kind: str = "r") -> Target:
    known = Column("event_id", "event_id", "text", not_null=True)
    return Target(1, "shop", "orders", "shop.orders", kind, False, False, (known, *columns), indexes)


@pytest.mark.parametrize(
    ("default", "is_constant"),
    [
        ("'new'::text", True), ("'it''s'::character varying(9)", True), ("0", True), ("'-1'::integer", True),
        ("(-1)", True), ("1.50", True), ("true", True), ("'{}'::shop.\"Mood\"[]", True), ("now()", False),
        ("CURRENT_DATE", False), ("gen_random_uuid()", False), ("('x'::text || now())", False), (None, False),
        ("'now'::text::timestamp", False), ("nextval('s'::regclass)", False),
    ],
)  # fmt: skip
def test_a_default_that_never_changes_is_recognised(default: str | None, *, is_constant: bool) -> None:
    assert Column("a", "a", "text", default=default).has_constant_default == is_constant


def test_a_key_of_an_extensions_type_is_refused() -> None:
    index = Index("orders_pkey", True, True, True, False, False, ["event_id", "tenant"])
    tenant = Column("tenant", "tenant", "public.citext", "citext", type_is_own=False, not_null=True)
    key, problems = find_key(definition(tenant="/tenant"), target(tenant, indexes=[index]))
    assert key == ["event_id", "tenant"]
    assert [one.partition(";")[0] for one in problems] == [
        "table.key: tenant of shop.orders has the type public.citext, of an extension"
    ]


def test_an_index_that_is_not_valid_is_refused() -> None:
    index = Index("orders_pkey", True, True, False, False, False, ["event_id"])
    assert find_key(definition(a="/a"), target(indexes=[index])) == (
        (), ["table.key: shop.orders: the unique index orders_pkey is not valid; REINDEX it"]
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "words"), [("r", ""), ("p", ""), ("v", "a view"), ("f", "a foreign table")])
def test_only_tables_are_filled(kind: str, words: str) -> None:
    assert check_table(target(kind=kind), "keepstream") == (
        [f"table.name: shop.orders is {words}; name a table"] if words else []
    )


def test_keepstreams_own_tables_are_all_known() -> None:
    assert {"events", "stream_offsets", "event_counters", "dead_letter_outbox", "schema_migrations"} <= own_tables()


def test_what_a_name_or_a_path_holds_is_not_filled_in_again() -> None:
    """Placeholders have braces, and so may the names of users."""
    column = Column("{table}", '"{table}"', "text")
    body = FillFunction(definition(**{"{table}": "/{key}"}), target(column), ["event_id"]).body()
    assert """'{table}', e.payload #> '{"{key}"}'""" in body.replace(" E'", " '")
    assert 'mine."{table}"' in body


def test_a_table_of_ids_alone_is_not_updated() -> None:
    body = FillFunction(definition(event_id="event_id"), target(), ["event_id"]).body()
    assert "ON CONFLICT (event_id) DO NOTHING;" in body
