"""``keepstream.toml`` in the working directory: the same settings in a file. The environment and ``.env`` win.

The table ``[keepstream]`` holds single settings, ``[keepstream.kafka]`` and its like hold sections.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container

FILE = Path("keepstream.toml")
TABLE = "keepstream"


class SettingsFileError(Exception):
    """The file is there and cannot be used."""


def settings_in_file(known: Container[str]) -> dict[str, Any]:
    """Return what the file says, nothing without one; sections are checked later. Raises SettingsFileError."""
    try:
        content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsFileError(f"{FILE} cannot be read: {error}") from None
    table = content.get(TABLE)
    if not isinstance(table, dict) or len(content) > 1:
        others = ", ".join(sorted(content.keys() - {TABLE})) or "no table"
        raise SettingsFileError(
            f"{FILE} has {others}: settings stand in [{TABLE}] and in its sections, like [{TABLE}.kafka]"
        )
    for name in table:
        if name not in known:
            raise SettingsFileError(f"{FILE}: there is no setting {TABLE}.{name}")
    return table
