"""The product is written in the field's words: docs/glossary.md defines them, these must not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.import_names import LAYERS

CHECKOUT = Path(__file__).resolve().parents[2]
INSTEAD = {
    "lane": "partition queue, dispatcher",
    "letter": "dead letter",
    "held": "paused",
    "fold": "deduplicate",
    "bury": "dead-letter",
    "buried": "dead-lettered, dead letter record",
    "fate": "outcome",
    "trouble": "error",
    "stretch": "offset range",
    "leap": "index scan",
    "namesake": "duplicate instance",
    "tally": "outcome counts",
    "tell": "log, notify, report",
    "told": "logged, notified, reported",
    "whoever": "the user, the client, the producer: name it",
    "whomever": "the user, the client, the producer: name it",
    "nobody": "no user, no client, no process: name it",
}
"""Word, without its plural -> what to say instead."""
WRITTEN_DOWN = {
    "replay_letters",
    "letter_id",
    "'letters'",
    '"letters"',
    '"held_partitions"',
    '"fold"',
    '"held"',
    '"letters_read"',
    '"unknown_letter"',
    '"not_a_letter"',
    '"letter_lost"',
}
"""Values that the world reads, and so keep their spelling: a table, columns, JSON keys, codes; an option of rich."""
ALLOWED = {("app/embedded/postgres_binaries.py", "nobody"), ("schemas/event.py", "leap")}
"""The Unix user ``nobody``, and leap seconds."""
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def sources() -> list[Path]:
    return sorted(path for layer in LAYERS for path in (CHECKOUT / layer).rglob("*") if path.suffix in {".py", ".html"})


def words(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, word) of code, comments and texts; a word that is written down for the world is left out."""
    for token in _TOKEN.finditer(text):
        quoted = text[max(0, token.start() - 1) : token.end() + 1]
        if not WRITTEN_DOWN & {token[0], quoted}:
            line = text.count("\n", 0, token.start()) + 1
            yield from ((line, word.lower()) for word in _WORD.findall(token[0]))


def banned(path: str, text: str) -> list[str]:
    """Return a line for each banned word."""
    found, before = [], ""
    for line, word in words(text):
        said = word if word in INSTEAD else word.removesuffix("s")
        if said in INSTEAD and not (said == "letter" and before == "dead") and (path, said) not in ALLOWED:
            found.append(f"{path}:{line}: {word}: say {INSTEAD[said]}")
        before = word
    return found


def test_the_product_is_written_in_the_fields_words() -> None:
    paths = {str(path.relative_to(CHECKOUT)): path for path in sources()}
    found = [line for name, path in paths.items() for line in banned(name, path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("lane = Lanes()  # each lane", 3),
        ("the dead letter, dead_letters, DeadLetter, DEAD_LETTERS", 0),
        ("a letter; letters_of(x)", 2),
        ("row['letter_id'] FROM replay_letters", 0),
        ("# what nobody told whoever held it", 4),
        ('"""A dead\nletter."""', 0),
        ("threshold, withheld, intelligent, folder, unfolded", 0),
    ],
)
def test_what_counts_as_a_word(text: str, count: int) -> None:
    assert len(banned("x.py", text)) == count
