"""The validate step: parses a record into an event, or a rejection with the field and the reason. Pure.

A deployment may have a decode hook, a mapping, a contract and transforms of its own. They come before keepstream's own
contract, in this order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

from keepstream.processors.validation.cloudevents import cloud_event_document, is_cloud_event
from keepstream.processors.validation.contract import (
    TOMBSTONE,
    Read,
    Verdict,
    check_content,
    check_contract,
    check_document,
    check_written,
)
from keepstream.processors.validation.custom_contract import CustomContract
from keepstream.processors.validation.decoding import Decoder
from keepstream.schemas.event import Contract, Envelope, Event, Ignored, Rejection, Transform, ValidEvent
from keepstream.schemas.record import Record

Check = Callable[[Record], Verdict]
Answer = Callable[[Record], bytes | Rejection | Ignored]
"""What a tombstone is: the document of an event, a dead letter, or nothing."""


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
    return check_document(record, made) if isinstance(made, bytes) else made


def _read_custom(record: Record, value: bytes, custom: CustomContract) -> Verdict:
    if record.headers and is_cloud_event(record):
        value = cloud_event_document(record, value)
    rewritten = custom.document(record, value)
    return check_document(record, rewritten) if isinstance(rewritten, bytes) else rewritten


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
        return check_document(record, rewritten) if isinstance(rewritten, bytes) else rewritten
    return check_document(record, document, fields | {"payload": {}})


def _read_members(
    record: Record,
    value: bytes,
    members: Callable[[bytes], tuple[bytes, Envelope] | None],
    otherwise: Read,
) -> Verdict:
    found = members(value)
    return otherwise(record, value) if found is None else check_written(record, *found)


validate = Validator().validate
"""Check contract and content, by the default contract."""
