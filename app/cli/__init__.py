"""The command line. Parses, calls, prints; decides nothing. A module per command group, imported when called."""

from __future__ import annotations

from keepstream.app.cli.root import main

__all__ = ["main"]
