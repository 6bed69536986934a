"""The version that is running."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("keepstream")
