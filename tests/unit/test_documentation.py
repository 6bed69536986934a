"""The README knows every command and every test that it names; every command says how it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from keepstream.app.cli.root import root

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
FOLDERS = (".github", "docs", "deploy")
PAGES = [*CHECKOUT.glob("*.md"), *(page for folder in FOLDERS for page in (CHECKOUT / folder).rglob("*.md"))]


def commands(group: click.Group, path: str = "keepstream") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(commands(root))


@pytest.mark.parametrize("words", ALL)
def test_readme_lists_each_command(words: str) -> None:
    assert f"`{words}`" in README


@pytest.mark.parametrize("words", ALL)
def test_each_command_has_help_with_an_example(words: str) -> None:
    command = ALL[words]
    assert command.help
    assert (command.epilog or "").startswith("Example: ")
    assert words in (command.epilog or "")
    assert all(option.help for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", README))))
def test_each_test_that_readme_names_exists(name: str) -> None:
    suites = (CHECKOUT / "tests").rglob("test_*.py")
    assert any(f"def {name}(" in suite.read_text(encoding="utf-8") for suite in suites)


@pytest.mark.parametrize("picture", sorted((CHECKOUT / "benchmarks" / "results").glob("*.svg")), ids=lambda p: p.name)
def test_no_kept_picture_names_the_folder_it_was_drawn_in(picture: Path) -> None:
    """A profiler writes its whole command line into the title."""
    assert not re.search(r"/\S+/\.venv", picture.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_each_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


RETIRED = re.compile(
    r"\b(lanes?|(?<!dead[ -])letters?|buri(ed|al)|trouble|stretch(es)?|folded|whoever|nobody|somebody)\b", re.IGNORECASE
)
"""Words that docs/glossary.md has replaced, or that name no one. What is code keeps its spelling."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_each_page_uses_the_words_of_the_glossary(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [found[0] for found in RETIRED.finditer(" ".join(prose.split()))] == []


NOT_KEPT = {"benchmarks/results/short/", "tests/kafkatest"}
"""What a target writes, and a folder of apache/kafka."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    folders = "app|processors|sinks|schemas|tests|deploy|docs|benchmarks"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text(encoding="utf-8")))
    assert [name for name in sorted(named - NOT_KEPT) if not (CHECKOUT / name).exists()] == []
