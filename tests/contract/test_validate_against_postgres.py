"""What `validate` accepts, PostgreSQL stores; what the content check refuses, PostgreSQL refuses too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstream.processors.batch_part import deduplicate
from keepstream.processors.validation.contract import Verdict, check_content, check_contract
from keepstream.processors.validation.jsonb import MAX_WRITTEN_DIGITS, unholdable
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.failure import RecordError
from tests.builders import make_event, make_record, make_value
from tests.contract.store_fixtures import PostgresTable, settle
from tests.malicious_input import HOSTILE, as_payload, corpus
from tests.real import Postgres

pytestmark = pytest.mark.real

Connection = psycopg.Connection[tuple[object, ...]]
MODEST = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


async def try_to_store(table: PostgresTable, value: bytes) -> Verdict:
    """Validate a value as the partition's next record and, when it is accepted, settle it."""
    begin = table.next_offset()
    verdict = validate(make_record(value, begin))
    if isinstance(verdict, ValidEvent):
        try:
            await settle(table, begin, begin + 1, verdict)
        except Exception as error:
            raise AssertionError(f"accepted, but PostgreSQL says {error!r}: {verdict.document[:200]!r}") from error
    return verdict


def exact(text: str) -> object:
    """Parse JSON without turning numbers into floats."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@pytest.mark.parametrize("texts", [HOSTILE, tuple(corpus())], ids=["our own", "corpus"])
async def test_every_hostile_value_that_is_accepted_is_stored(
    real_table: PostgresTable, texts: tuple[bytes, ...]
) -> None:
    for text in texts:
        for value in (text, as_payload(text)):
            await try_to_store(real_table, value)


async def test_every_hostile_content_that_is_refused_is_refused_by_postgresql_too(real_table: PostgresTable) -> None:
    for text in [*HOSTILE, *corpus()]:
        event = check_contract(make_record(as_payload(text)))
        if isinstance(event, ValidEvent) and check_content(event):
            with pytest.raises(RecordError):
                await settle(real_table, 0, 1, event)
    assert real_table.rows() == {}


@given(
    payload=st.dictionaries(TEXT, VALUES, max_size=4), metadata=st.none() | st.dictionaries(TEXT, VALUES, max_size=3)
)
@MODEST
async def test_any_json_that_is_accepted_is_stored_and_read_back_equal(
    real_table: PostgresTable, payload: dict[str, object], metadata: dict[str, object] | None
) -> None:
    verdict = await try_to_store(real_table, make_value(event_id="e", payload=payload, metadata=metadata))
    if isinstance(verdict, Rejection):
        assert verdict.reason == "nul_character"
        assert "\\u0000" in json.dumps([payload, metadata])
        return
    ((stored,),) = real_table.read("SELECT jsonb_build_array(payload, metadata)::text FROM events")
    assert exact(stored) == exact(json.dumps([payload, metadata]))


@given(st.text(min_size=1, max_size=300), st.text(max_size=300))
@MODEST
async def test_any_text_that_is_accepted_as_an_id_is_stored_as_it_is(
    real_table: PostgresTable, event_id: str, correlation_id: str
) -> None:
    verdict = await try_to_store(real_table, make_value(event_id=event_id, correlation_id=correlation_id))
    if isinstance(verdict, ValidEvent):
        query = "SELECT correlation_id FROM events WHERE event_id = %s"
        assert real_table.read(query, event_id) == [(correlation_id or event_id,)]


@pytest.mark.parametrize("number", ["1e131071", "1e300", "-1.5e-16000", "1e99"])
async def test_the_row_of_whatever_is_accepted_can_be_read_again(real_table: PostgresTable, number: str) -> None:
    """9,000 numbers like 1e131071 are 81 kB, and a row that no SELECT, dump or replication can read (54000)."""
    accepted = []
    for count in (1, 7, 100, 9000):
        value = b'{"event_id":"n-%d","payload":{"x":[%b]}}' % (count, ",".join([number] * count).encode())
        if isinstance(await try_to_store(real_table, value), ValidEvent):
            accepted.append(count)
    lengths = [row[0] for row in real_table.read("SELECT length(payload::text) FROM events")]
    assert len(lengths) == len(accepted) > 1
    assert max(lengths) < 2 * MAX_WRITTEN_DIGITS


@pytest.fixture
def connection(each_postgres: Postgres) -> Iterator[Connection]:
    with psycopg.connect(each_postgres.url, autocommit=True) as connection:
        yield connection


def postgresql_takes(connection: Connection, text: str) -> bool:
    try:
        connection.execute("SELECT %s::text::jsonb IS NULL", [text])
    except psycopg.DataError:
        return False
    return True


BORDERS = [131070, 131071, 131072, 16382, 16383, 16384, 0, 1, 2**30 - 2, 2**30, 2**31, 2**63, 10**11, 10**12, 10**30]
EXPONENTS = st.builds(
    "{}{}{}".format, st.sampled_from(["", "+", "-"]), st.sampled_from(["", "0", "0" * 20]), st.sampled_from(BORDERS)
)
FRACTIONS = st.sampled_from(["", ".0", ".1", ".10", ".00001", "." + "1" * 16383, "." + "0" * 16384])
WHOLES = st.sampled_from(["0", "1", "9", "10", "1" + "0" * 131071, "9" * 131072, "9" * 131073])


@given(st.builds("{}{}{}e{}".format, st.sampled_from(["", "-"]), WHOLES, FRACTIONS, EXPONENTS))
@settings(MODEST, max_examples=200)
def test_numbers_around_the_limits_are_judged_exactly_as_postgresql_judges_them(
    connection: Connection, number: str
) -> None:
    assert (unholdable(number.encode()) is None) == postgresql_takes(connection, number)


@pytest.mark.parametrize(
    "number",
    ["9" * 131072, "9" * 131073, "0." + "1" * 16383, "0." + "1" * 16384, "0e-16383", "0e-16384", "-0", "-0.0e5",
     "1" + "0" * 131071 + ".5", "0." + "0" * 16383, "1.5e131071", "10e131071", "0.1e131072", "1e0000000000000000005"],
)  # fmt: skip
def test_the_limits_themselves_are_those_of_postgresql(connection: Connection, number: str) -> None:
    assert (unholdable(number.encode()) is None) == postgresql_takes(connection, number)


@given(
    st.datetimes(),
    st.none() | st.text("0123456789", max_size=9),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+15:59", "-15:59", "+0530", "-0000", "+00", "-09", "+15"]),
    st.sampled_from("Tt "),
)
@MODEST
async def test_a_timestamp_means_the_same_moment_to_postgresql(
    real_table: PostgresTable, when: object, fraction: str | None, zone: str, separator: str
) -> None:
    seconds = "" if fraction is None else str(when)[16:19] + ("." + fraction if fraction else "")
    text = f"{str(when)[:10]}{separator}{str(when)[11:16]}{seconds}{zone}"
    verdict = await try_to_store(real_table, make_value(event_id=text, timestamp=text))
    if isinstance(verdict, Rejection):
        assert verdict.reason == "invalid_timestamp"
        assert text[:4] in ("0001", "9999")
        return
    query = "SELECT created_at FROM events WHERE event_id = %s"
    assert real_table.read(query, text) == [(parse_timestamp(text),)]


async def test_a_retry_attempt_of_null_is_stored_as_zero(real_table: PostgresTable) -> None:
    assert isinstance(await try_to_store(real_table, make_value(event_id="e", retry_attempt=None)), ValidEvent)
    assert real_table.read("SELECT retry_count FROM events") == [(0,)]


async def test_of_two_repeats_finer_than_a_microsecond_the_same_one_wins_in_one_batch_or_not(
    real_table: PostgresTable,
) -> None:
    def repeats() -> list[ValidEvent]:
        fractions = ["0000006", "0000000", "0000014", "0000016", "0000015"]
        texts = [f"2026-11-24T10:00:00.{fraction}Z" for fraction in fractions]
        return [make_event(i, event_id="e", timestamp=text, payload={"x": i}) for i, text in enumerate(texts)]

    for offset, event in enumerate(repeats()):
        await settle(real_table, offset, offset + 1, event)
    one_by_one, totals = real_table.rows(), real_table.totals()
    kept, counts = deduplicate(repeats())
    real_table.clear()
    await real_table.open(0, 0)
    await settle(real_table, 0, 5, *kept)
    assert real_table.rows() == one_by_one
    assert (counts.duplicate, counts.stale) == (totals["duplicate"], totals["stale"])
