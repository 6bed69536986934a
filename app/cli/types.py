"""Types of option values, within what Kafka, PostgreSQL and the operating system accept."""

from __future__ import annotations

import math
import re

import click

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
COUNT = click.IntRange(1, 2**31 - 1)
PARTITION = click.IntRange(0, 2**31 - 1)
OFFSET = click.IntRange(0, 2**62)
REPLAY_ID = click.IntRange(1, 2**62)


class Seconds(click.FloatRange):
    """A number of seconds; unlike in click's range, NaN is refused."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail as a usage error."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return number


class Topic(click.ParamType):
    """The name of a topic, by Kafka's rules."""

    name = "topic"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail as a usage error."""
        if not _TOPIC.fullmatch(value) or value in (".", ".."):
            self.fail(f"{value!r} is no name of a topic", param, ctx)
        return value
