"""The environment variables of the settings: their names, and what stands in them that is never read."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import get_origin

from pydantic import BaseModel

from keepstream.app.config.settings import DEFAULT_FILE, FILE_VARIABLE, Settings, settings_file
from keepstream.app.config.topics import TopicSettings

PREFIX = "KEEPSTREAM_"
_OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
"""Variables that Kubernetes sets for a service whose name begins with keepstream; its ``_PORT`` holds a URL."""


def variables(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[tuple[str, type | None]]:
    """Yield the name of each variable, and what its JSON holds: BaseModel for a section, tuple, dict, None for text."""
    for name, field in model.model_fields.items():
        variable, kind = f"{prefix}{name}".upper(), field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield variable, BaseModel
            yield from variables(kind, f"{variable}__")
        else:
            yield variable, next((container for container in (tuple, dict) if get_origin(kind) is container), None)


def not_json(given: Mapping[str, str]) -> str | None:
    """Return the first variable that should hold JSON and does not."""
    values = {name.upper(): value for name, value in given.items()}
    known = [*variables(), *_variables_of_topics(values)]
    return next((name for name, kind in known if kind and not _is_json(values.get(name, "{}"))), None)


def _variables_of_topics(given: Iterable[str]) -> Iterator[tuple[str, type | None]]:
    """Yield the variables of each topic that a given one names: KEEPSTREAM_TOPICS__ORDERS__DLQ_TOPIC."""
    prefix = f"{PREFIX}TOPICS__"
    topics = {name.removeprefix(prefix).partition("__")[0] for name in given if name.startswith(prefix)}
    for topic in sorted(topics):
        yield f"{prefix}{topic}", BaseModel
        yield from variables(TopicSettings, f"{prefix}{topic}__")


def unread_variables(given: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable with our prefix that is no setting, with the setting that it resembles."""
    known = dict(variables())
    maps = tuple(f"{name}__" for name, kind in known.items() if kind is dict)  # a variable per key is read, too
    return [
        _sentence(name, [*known])
        for name, value in sorted(given.items())
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and not (name == FILE_VARIABLE and name in os.environ)  # in .env it would not be read
        and not name.upper().startswith(maps)
        and not _is_of_kubernetes(name, value)
    ]


def environment() -> dict[str, str]:
    """Return the variables of the process and of ``.env``. Raises UnicodeDecodeError for a file that is not UTF-8."""
    from dotenv import dotenv_values  # noqa: PLC0415 - only where such a file is

    in_file = dotenv_values(".env") if Path(".env").is_file() else {}
    return {**{name: value or "" for name, value in in_file.items()}, **os.environ}


def file_read() -> str:
    """Return which settings file is read, or that there is none."""
    file = settings_file()
    return str(file) if file.exists() else f"none (no {DEFAULT_FILE} in this directory, and no --config)"


def _is_of_kubernetes(name: str, value: str) -> bool:
    return bool(_OF_KUBERNETES.search(name)) or (name.endswith("_PORT") and "://" in value)


def _sentence(name: str, known: list[str]) -> str:
    ends = [variable.removeprefix(PREFIX) for variable in known]
    alike = difflib.get_close_matches(name.upper().removeprefix(PREFIX), ends, 1, 0.8)
    return f"{name} is set, but is no setting" + (f"; did you mean {PREFIX}{alike[0]}?" if alike else "")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
