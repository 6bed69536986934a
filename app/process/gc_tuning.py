"""The search for reference cycles, tuned for a process that makes thousands of short-lived objects and no cycles.

Left alone, it took 15 % of the worker's loop under load: every 700 new objects it looks at the young, and now and then
at everything that Faust and pydantic built at the start. Batches are freed by their reference counts; cycles come from
exceptions, which are rare. Collecting seldom, and never what was there at the start, is what gc.freeze is for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_OBJECTS = 50_000


def tune_gc() -> None:
    """Call once everything is built: what is there now is not searched again, and the rest seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Search not at all: letters make no cycles, and looking for some took a fifth of a replay's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
