"""What every branch of the settings tree is."""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Bytes = Annotated[int, Field(ge=1024)]
HOLDS_A_SECRET = object()


def _readable(file: Path | None) -> Path | None:
    if file is not None and not os.access(file, os.R_OK):
        raise ValueError("this file cannot be read by us")
    return file


SecretFile = Annotated[FilePath | None, AfterValidator(_readable), HOLDS_A_SECRET]
"""A file whose content is kept out of logs (`keepstream.app.telemetry.logging.secrets_of`)."""


class Section(BaseModel):
    """A branch of the tree: unknown names are errors, and a field's docstring is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)
