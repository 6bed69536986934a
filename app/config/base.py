"""Types and checks shared by the sections of the settings."""

from __future__ import annotations

import ipaddress
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, SecretStr, field_validator

from keepstream.schemas.record import is_text

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Bytes = Annotated[int, Field(ge=1024)]
HOLDS_A_SECRET = object()
DEFAULT_KAFKA_PORT = 9092


def _readable(file: Path | None) -> Path | None:
    if file is not None and not os.access(file, os.R_OK):
        raise ValueError("this user has no right to read the file")
    return file


SecretFile = Annotated[FilePath | None, AfterValidator(_readable), HOLDS_A_SECRET]
"""A file whose content is kept out of logs (`keepstream.app.telemetry.logging.secrets_of`)."""


class Section(BaseModel):
    """A branch of the tree: unknown names are errors, and a field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: object) -> object:
        if isinstance(value, str) and not is_text(value):
            raise ValueError("this is not UTF-8 text")
        return value


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return the secret; a file's final line break is not part of it. Raises OSError when the file cannot be read."""
    if file is not None:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    return value.get_secret_value() if value is not None else None


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address. Names are not resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(server: str) -> str:
    """Return the host of ``[scheme://]host[:port]``; an IPv6 address stands in brackets."""
    address = server.rpartition("://")[2]
    return address.partition("]")[0].lstrip("[") if address.startswith("[") else address.partition(":")[0]


def port_of(server: str) -> int:
    """Return the port of ``[scheme://]host[:port]``, or Kafka's."""
    port = server.rpartition("]")[2].rpartition("://")[2].partition(":")[2]
    return int(port) if port else DEFAULT_KAFKA_PORT


VERSION = version("keepstream")
