"""The pages name what exists, state generated figures, and lead nowhere dead; every command says how it is used."""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from benchmarks import statement
from keepstream.app.cli.root import root
from keepstream.app.demo.run import LIVE_SHARE, SEED
from keepstream.app.demo.traffic import traffic
from keepstream.schemas.outcome import Outcome

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


def test_the_changelog_begins_with_the_version_that_is_built() -> None:
    """Its date is set at the release: docs/contributing.md."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    first = re.findall(r"^## (.*)$", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert re.fullmatch(rf"{re.escape(version)} (\(unreleased\)|- \d{{4}}-\d\d-\d\d)", first)


def test_readme_is_short_and_narrow() -> None:
    lines = README.splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 120] == []


def test_the_proof_that_readme_shows_is_that_of_the_demos_records() -> None:
    live = int(10_000 * LIVE_SHARE)
    records = [*traffic(10_000 - live, "burst", SEED), *traffic(live, "live", SEED + 1)]
    counts = Counter(record.outcome for record in records)
    for claim, outcome in (("delivered: counted", Outcome.DELIVERED), ("bytes", Outcome.DEAD_LETTERED)):
        assert f"{claim} = expected: {counts[outcome]:,} = {counts[outcome]:,}\n" in README


@pytest.mark.parametrize("name", ["commands.md", "exit-codes.md", "headers.md", "settings.md", "tables.md"])
def test_the_reference_is_what_the_code_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make docs` writes it."""
    for variable in [name for name in os.environ if name.startswith(("KEEPSTREAM_", "PG"))]:
        monkeypatch.delenv(variable)
    written: dict[str, str] = runpy.run_path(str(CHECKOUT / "docs" / "build_reference.py"))["pages"]()
    assert (CHECKOUT / "docs" / "reference" / name).read_text(encoding="utf-8") == written[name]


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- figures" in page.read_text(encoding="utf-8")],
                         ids=lambda page: page.name)  # fmt: skip
def test_figures_that_pages_state_are_those_of_the_results(page: Path) -> None:
    """`make figures` writes them."""
    text = page.read_text(encoding="utf-8")
    assert statement.filled(text, statement.statement(CHECKOUT / "benchmarks" / "results")) == text


def test_each_page_is_in_the_navigation_of_the_site() -> None:
    listed = (CHECKOUT / "docs/zensical.toml").read_text(encoding="utf-8")
    pages = (str(page.relative_to(CHECKOUT)) for page in (CHECKOUT / "docs").rglob("*.md"))
    assert [page for page in pages if f'"{page}"' not in listed] == []


def test_the_page_of_decisions_lists_the_sections_of_each_subject() -> None:
    index = (CHECKOUT / "docs/decisions.md").read_text(encoding="utf-8")
    listed = {name: found.split(", ") for name, found in re.findall(r"\]\(decisions/(.*?)\) \| (.*) \|", index)}
    pages = {page.name: page.read_text(encoding="utf-8") for page in (CHECKOUT / "docs/decisions").glob("*.md")}
    assert listed == {name: re.findall("^## (.*)$", page, re.MULTILINE) for name, page in pages.items()}


def test_a_measured_rate_is_stated_on_one_page() -> None:
    """Apart from the blocks that are generated. Two pages that state one figure drift apart."""
    places: dict[str, set[str]] = {}
    for page in PAGES:
        text = statement.BLOCK.sub("", page.read_text(encoding="utf-8"))
        for rate in re.findall(r"\b\d{1,3}(?:,\d{3})+(?= (?:events|records)/s)", text):
            places.setdefault(rate, set()).add(page.name)
    assert {rate: names for rate, names in places.items() if len(names) > 1} == {}


@pytest.mark.parametrize("words", ALL)
def test_the_reference_has_each_command(words: str) -> None:
    assert f"## `{words}`\n" in (CHECKOUT / "docs/reference/commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", ALL)
def test_each_command_has_help_with_an_example(words: str) -> None:
    command = ALL[words]
    assert command.help
    assert (command.epilog or "").startswith("Example: ")
    assert words in (command.epilog or "")
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_each_test_that_a_page_names_exists() -> None:
    suites = [*(CHECKOUT / "tests").rglob("test_*.py")]
    tests = {name for suite in suites for name in re.findall(r"def (test_\w+)\(", suite.read_text(encoding="utf-8"))}
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}
    assert named - tests - {suite.stem for suite in suites} == set()


@pytest.mark.long
def test_the_screenshots_are_of_the_consoles_pages() -> None:
    """`make screenshots` takes them anew, and notes what it has taken."""
    files = (path for folder in ("templates", "static") for path in sorted((CHECKOUT / "app/web" / folder).iterdir()))
    seen = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    assert (CHECKOUT / "docs/images/pages.sha256").read_text(encoding="utf-8").strip() == seen


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
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
    defined = re.findall(r"^\[[\w-]+\]: (\S+)$", text, re.MULTILINE)
    for target in [*re.findall(r"\]\((?!https?:)([^)\s]+)\)", text), *pictures, *defined]:
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
