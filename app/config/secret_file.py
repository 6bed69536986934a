"""A secret is given as a value or as a file with that value in it, as orchestrators mount secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return the secret; a file's final line break is not part of it. Raises OSError when the file cannot be read."""
    if file is not None:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    return value.get_secret_value() if value is not None else None
