"""Prefetches items in a thread, so that reading and producing overlap."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")
PIECE = 250
PIECES_AHEAD = 4
"""Read ahead at most 1,000 items: more than are read while a chunk is planned. More would only use memory."""


@contextmanager
def prefetched(items: Generator[T]) -> Iterator[Iterator[T]]:
    """Yield the items, read in a thread that ends with the context. Errors of reading are raised here."""
    pieces: Queue[list[T] | BaseException | None] = Queue(PIECES_AHEAD)
    ended = threading.Event()
    reader = threading.Thread(target=_read, args=(items, pieces, ended), name="prefetch", daemon=True)
    reader.start()
    try:
        yield _items(pieces)
    finally:
        ended.set()
        while reader.is_alive():
            with suppress(Empty):  # a reader that waits for room goes on, and ends
                while True:
                    pieces.get_nowait()
            reader.join(0.02)


def _read(items: Generator[T], pieces: Queue[list[T] | BaseException | None], ended: threading.Event) -> None:
    try:
        with closing(items):
            while not ended.is_set() and (piece := list(islice(items, PIECE))):
                pieces.put(piece)
        pieces.put(None)
    except BaseException as error:  # noqa: BLE001 - raised in the consuming thread
        pieces.put(error)


def _items(pieces: Queue[list[T] | BaseException | None]) -> Iterator[T]:
    while piece := pieces.get():
        if isinstance(piece, BaseException):
            raise piece
        yield from piece
