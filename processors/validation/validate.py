"""The validate step: parses a record into an event, or a rejection with the field and the reason. Pure.

It has two checks. The *contract* (pydantic, depth, the length of numbers) is checked for every record. The *content*
(what jsonb cannot store) is exact but slow, and PostgreSQL refuses precisely the same: so it is checked only after
PostgreSQL has refused a batch. The verdict on a record is the same either way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from keepstream.processors.validation.cloudevents import cloud_event_document, is_cloud_event
from keepstream.processors.validation.custom_contract import CustomContract
from keepstream.processors.validation.decoding import Decoder
from keepstream.processors.validation.jsonb import depth, find_unwritable, unholdable
from keepstream.processors.validation.rejection import to_rejection
from keepstream.schemas.event import (
    DATED,
    MAX_VALUE_BYTES,
    UNDATED,
    Contract,
    Envelope,
    Event,
    Ignored,
    Rejection,
    Transform,
    ValidEvent,
)
from keepstream.schemas.record import MAX_TIMESTAMP_MS, Record, header

MAX_DEPTH = 64
TOMBSTONE = "tombstone"

_parse = TypeAdapter(Envelope).validator.validate_json
_check_fields = TypeAdapter(Envelope).validator.validate_python
_CLOSING_BRACE = ord("}")
_EPOCH = datetime.fromtimestamp(0, UTC)
_EDGE_YEARS = frozenset(("0001", "9999"))
_FINER_THAN_US = re.compile(r"\.[0-9]{7,9}")
_LONGEST_IN_US_AND_UTC = len("2026-11-24T10:00:00.123456Z")
_TRACEPARENT = re.compile("[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context


class Rewrite(Protocol):
    """Interface of a mapping: reads a record of another shape. Pure."""

    @property
    def any_value(self) -> bool:
        """Whether a record without a value may be an event, or one whose value is not JSON."""
        ...

    @property
    def members(self) -> MemberReader | None:
        """The fast form of the mapping, where it has one."""
        ...

    def apply(self, record: Record, value: bytes) -> tuple[bytes, dict[str, object]] | Rejection:
        """Return the document in the contract's shape and its text fields. The payload may be any JSON value."""
        ...


class MemberReader(Protocol):
    """Interface of the fast form of a mapping."""

    def read(self, value: bytes) -> tuple[bytes, Envelope] | None:
        """Return the document in the contract's shape and its checked fields; None to have `Rewrite.apply` decide."""
        ...


Verdict = ValidEvent | Rejection | Ignored
Read = Callable[[Record, bytes], Verdict]
Check = Callable[[Record], Verdict]
Answer = Callable[[Record], bytes | Rejection | Ignored]
"""What a tombstone is: the document of an event, a dead letter, or nothing."""


class Validator:
    """The checks of a deployment: its decode hook, mapping, contract and transforms, then keepstream's own contract.

    ``check_contract`` is the plain function where a deployment has none of them: the default has no cost.
    ``tombstone`` makes the document of an event of a record without a value, where contract and mapping make none;
    ``ignores`` is asked first.
    """

    def __init__(
        self,
        contract: type[Contract | Event] = Event,
        transforms: Mapping[str, Transform] = MappingProxyType({}),
        mapping: Rewrite | None = None,
        decoder: Decoder | None = None,
        tombstone: Answer | None = None,
        ignores: Callable[[Record], bool] | None = None,
    ) -> None:
        custom = CustomContract(contract, transforms) if contract is not Event or transforms else None
        self.check_contract: Check = check_contract
        if mapping is not None:
            read: Read = partial(_read_mapped, mapping=mapping, custom=custom)
            if custom is None and mapping.members is not None:
                read = partial(_read_members, members=mapping.members.read, otherwise=read)
            self.check_contract = partial(_check_any if mapping.any_value else check_contract, read=read)
        elif custom is not None:
            self.check_contract = partial(check_contract, read=partial(_read_custom, custom=custom))
        if tombstone is not None or custom is not None:
            self.check_contract = partial(_check_tombstone, check=self.check_contract, custom=custom, answer=tombstone)
        if ignores is not None:
            self.check_contract = partial(_unless_ignored, check=self.check_contract, ignores=ignores)
        self.decoder = decoder
        if decoder is not None:
            self.check_contract = partial(_check_decoded, decoder=decoder, check=self.check_contract)

    def validate(self, record: Record) -> Verdict:
        """Check contract and content: PostgreSQL stores what this accepts."""
        checked = self.check_contract(record)
        return check_content(checked) or checked if isinstance(checked, ValidEvent) else checked


def check_contract(record: Record, read: Read | None = None) -> Verdict:
    """Check size, depth, JSON, fields and the length of numbers when they are written out.

    ``read`` takes over after size and depth, where a deployment has another shape than ours.
    """
    value = record.value
    if not value:
        return _nothing(value)
    if len(value) > MAX_VALUE_BYTES:
        return Rejection("too_large", f"the value has {len(value)} bytes; at most {MAX_VALUE_BYTES} are accepted")
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        return Rejection("too_deep", f"the value nests deeper than {MAX_DEPTH} levels")
    if read is not None:
        return read(record, value)
    if record.headers and is_cloud_event(record):
        value = cloud_event_document(record, value)
    return _check_document(record, value)


def _check_decoded(record: Record, decoder: Decoder, check: Check) -> Verdict:
    """Check what is inside the value. The event keeps the record as it was read: a dead letter has those bytes."""
    decoded = decoder.decoded(record)
    if isinstance(decoded, Rejection):
        return decoded
    verdict = check(decoded)
    if isinstance(verdict, ValidEvent):
        verdict.record = record
    return verdict


def _unless_ignored(record: Record, check: Check, ignores: Callable[[Record], bool]) -> Verdict:
    return Ignored() if ignores(record) else check(record)


def _check_tombstone(record: Record, check: Check, custom: CustomContract | None, answer: Answer | None) -> Verdict:
    """Of a record without a value ask the contract, the mapping, which may find an event in headers, the setting."""
    if record.value is not None:
        return check(record)
    made = custom.tombstone(record) if custom is not None else None
    if made is None:
        verdict = check(record)
        if answer is None or not (isinstance(verdict, Rejection) and verdict.reason == TOMBSTONE):
            return verdict
        made = answer(record)
    return _check_document(record, made) if isinstance(made, bytes) else made


def _read_custom(record: Record, value: bytes, custom: CustomContract) -> Verdict:
    if record.headers and is_cloud_event(record):
        value = cloud_event_document(record, value)
    rewritten = custom.document(record, value)
    return _check_document(record, rewritten) if isinstance(rewritten, bytes) else rewritten


def _check_any(record: Record, read: Read) -> Verdict:
    return check_contract(record, read) if record.value else read(record, b"")


def _read_mapped(record: Record, value: bytes, mapping: Rewrite, custom: CustomContract | None) -> Verdict:
    """Check what the mapping makes of the record. Without a custom contract its payload may be any JSON value."""
    mapped = mapping.apply(record, value)
    if isinstance(mapped, Rejection):
        return mapped
    document, fields = mapped
    if custom is not None:
        rewritten = custom.document(record, document)
        return _check_document(record, rewritten) if isinstance(rewritten, bytes) else rewritten
    return _check_document(record, document, fields | {"payload": {}})


def _read_members(
    record: Record,
    value: bytes,
    members: Callable[[bytes], tuple[bytes, Envelope] | None],
    otherwise: Read,
) -> Verdict:
    found = members(value)
    return otherwise(record, value) if found is None else _check_written(record, *found)


def _check_document(record: Record, document: bytes, fields: dict[str, object] | None = None) -> ValidEvent | Rejection:
    try:
        event = _parse(document) if fields is None else _check_fields(fields)
    except ValidationError as error:
        return to_rejection(error, document)
    return _check_written(record, document, event)


def _check_written(record: Record, document: bytes, event: Envelope) -> ValidEvent | Rejection:
    unwritable = find_unwritable(document)
    return Rejection(*unwritable, _usable(event["event_id"])) if unwritable else _complete(record, document, event)


def check_content(event: ValidEvent) -> Rejection | None:
    """Return a rejection for what jsonb cannot store: NUL characters, NaN and Infinity, numbers out of range."""
    found = unholdable(event.document)
    return found and Rejection(*found, _usable(event.event_id))


validate = Validator().validate
"""Check contract and content, by the default contract."""


def _usable(event_id: str) -> str | None:
    """Return an event id that a row could have: PostgreSQL's text cannot contain NUL."""
    return None if "\0" in event_id else event_id


def _nothing(value: bytes | None) -> Rejection:
    if value is None:
        return Rejection(
            TOMBSTONE, "the record has no value (a tombstone); KEEPSTREAM_MAPPING__TOMBSTONES=ignore or delete takes it"
        )
    return Rejection("empty_value", "the value is empty; a JSON object is expected")


def _complete(record: Record, value: bytes, event: Envelope) -> ValidEvent | Rejection:
    """Append the fields that the producer left out; in jsonb the last of equal keys wins, so none has to be removed."""
    event_id, timestamp, correlation_id = event["event_id"], event.get("timestamp"), event.get("correlation_id")
    added, undated = b"", DATED
    if timestamp is None:
        if not 0 <= record.timestamp <= MAX_TIMESTAMP_MS:
            return _bad_timestamp(event_id, "absent, and the record's own Kafka timestamp is out of range")
        timestamp = (_EPOCH + timedelta(milliseconds=record.timestamp)).isoformat(timespec="milliseconds")
        added, undated = b',"timestamp":"%b"' % timestamp.encode(), UNDATED
    elif not _in_calendar(timestamp):
        return _bad_timestamp(event_id, "not a date of the calendar between years 1 and 9999 in UTC")
    if not correlation_id:
        correlation_id = _fallback_correlation_id(record) or event_id
        added += b',"correlation_id":%b' % json.dumps(correlation_id).encode()
    if value[-1] != _CLOSING_BRACE:
        value = value.rstrip(b" \t\r\n")
    document = b'%b%b,"@offset":%d%b}' % (value[:-1], added, record.offset, undated)
    return ValidEvent(record, event_id, timestamp, correlation_id, document)


def _bad_timestamp(event_id: str, why: str) -> Rejection:
    return Rejection("invalid_timestamp", f"timestamp: {why}", event_id)


def parse_timestamp(timestamp: str) -> datetime:
    """Parse a timestamp that matched the contract's pattern, rounding to microseconds as PostgreSQL does.

    Raises ValueError or OverflowError for a date that the calendar does not have.
    """
    finer = _FINER_THAN_US.search(timestamp) if len(timestamp) > _LONGEST_IN_US_AND_UTC else None
    if finer is None:
        return datetime.fromisoformat(timestamp.upper())
    whole = datetime.fromisoformat((timestamp[: finer.start()] + timestamp[finer.end() :]).upper())
    return whole + timedelta(microseconds=round(float(finer.group()) * 1_000_000))


def _in_calendar(timestamp: str) -> bool:
    if timestamp[:4] not in _EDGE_YEARS:
        try:
            datetime.fromisoformat(timestamp)
        except ValueError:
            pass  # lower case, or no such day: parsed exactly below
        else:
            return True
    try:
        parse_timestamp(timestamp).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True


def _fallback_correlation_id(record: Record) -> str | None:
    given = header(record, "correlation_id")
    if given and len(given) <= 255 and "\0" not in given:  # noqa: PLR2004 - MAX_ID_CHARS
        return given
    trace = _TRACEPARENT.fullmatch(header(record, "traceparent") or "")
    return trace[1] if trace else None
