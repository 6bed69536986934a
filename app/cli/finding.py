"""Results of the checks of `keepstream doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from keepstream.app.cli.topic_option import prefix_of
from keepstream.app.errors import KeepstreamError


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check: ok, warn or fail, the observation and the fix. ``topic`` is None where there is one."""

    check: str
    state: str
    seen: str
    fix: str = ""
    topic: str | None = None

    def row(self) -> dict[str, object]:
        """Return it as an object of JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def line(self) -> str:
        """Return it as a line of text."""
        fix = f" -> {self.fix}" if self.fix else ""
        return f"{self.state:<5} {self.check:<9} {prefix_of(self.topic)}{self.seen}{fix}"


def run_check(name: str, check: Callable[[], Iterator[Finding]], topic: str | None) -> list[Finding]:
    """Run a check; a KeepstreamError becomes a failed finding with its hint."""
    found = []
    try:
        for finding in check():
            found.append(finding if finding.topic else replace(finding, topic=topic))  # noqa: PERF401 - what was found before an error counts
    except KeepstreamError as error:
        found.append(Finding(name, "fail", error.message, error.hint, topic))
    return found
