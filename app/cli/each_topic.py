"""A command's work for each topic, in turn: an error of one is printed, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.output import load_services_of_topics, print_error
from keepstream.app.errors import KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services


@dataclass(frozen=True, slots=True)
class EachTopic:
    """The servers of each topic. Where there is one topic, its errors are raised and its name is not printed."""

    services: Services = field(default_factory=load_services_of_topics)
    _exit_codes: list[int] = field(default_factory=list)

    @property
    def several(self) -> bool:
        return len(self.services.settings.topics) > 1

    def __iter__(self) -> Iterator[tuple[str | None, Services]]:
        """Yield the servers of each topic with the name to print, None where there is one topic."""
        found = self.services.by_topic()
        yield from found.items() if len(found) > 1 else ((None, own) for own in found.values())

    @contextmanager
    def errors_of(self, topic: str | None) -> Iterator[None]:
        """Print a KeepstreamError of one topic of several, and go on; `end` exits with its code."""
        try:
            yield
        except KeepstreamError as error:
            if topic is None:
                raise
            self.failed(topic, error)

    def failed(self, topic: str | None, error: KeepstreamError) -> None:
        print_error(error, topic)
        self._exit_codes.append(error.exit_code)

    def end(self) -> None:
        """Exit with the code of the errors printed; of several, 1 (something failed) before 4 (unreachable)."""
        if self._exit_codes:
            raise click.exceptions.Exit(min(self._exit_codes))


def column_of(topic: str | None) -> dict[str, object]:
    """Return the first field of a row that is about one topic of several."""
    return {"topic": topic} if topic else {}
