"""Build the site of the documentation into dist/site, and check each link in it: ``python docs/build_site.py``.

The pages are copied in their places of the repository, so that one link works there, on the site and in an editor.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCE, SITE = CHECKOUT / "dist/site-source", CHECKOUT / "dist/site"
ZENSICAL = CHECKOUT / ".venv/docs/bin/zensical"
FOLDERS = ("docs", "deploy", "benchmarks/results", ".github")
SUFFIXES = {".md", ".png", ".svg", ".toml", ".sql", ".jsonl", ".py", ".txt", ".yaml"}


def main() -> int:
    """Build; return the exit code: 1 for a warning or a dead link."""
    stage()
    done = subprocess.run(
        [ZENSICAL, "build", "--strict", "--clean", "-f", "zensical.toml"], cwd=SOURCE, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    print(done.stdout, file=sys.stderr)
    dead = sorted(dead_links(publish())) if done.returncode == 0 else []
    for link in dead:
        print(f"dead link: {link}", file=sys.stderr)
    warned = re.search(r"warning", done.stdout, re.IGNORECASE)
    return int(bool(done.returncode or dead or warned))


def stage() -> None:
    """Copy the pages and what they show."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for path in wanted():
        target = SOURCE / "pages" / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(CHECKOUT / "docs/zensical.toml", SOURCE / "zensical.toml")


def publish() -> Path:
    """Move what was built out of the source, where it has to be built."""
    shutil.rmtree(SITE, ignore_errors=True)
    return Path(shutil.move(SOURCE / "site", SITE))


def wanted() -> Iterator[Path]:
    yield from CHECKOUT.glob("*.md")
    for folder in FOLDERS:
        yield from (path for path in (CHECKOUT / folder).rglob("*") if path.suffix in SUFFIXES and path.is_file())


class Links(HTMLParser):
    """Where a page leads, and the anchors that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect links, pictures and ids."""
        given = dict(attrs)
        self.targets.update(found for name in ("href", "src", "srcset") if tag != "base" and (found := given.get(name)))
        self.anchors.update(found for name in ("id", "name") if (found := given.get(name)))


def dead_links(site: Path) -> Iterator[str]:
    """Yield each link within the site that leads to no file, or to no anchor of its page."""
    pages = {path: parsed(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.targets:
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme or link.startswith("//") or path.name == "404.html":
                continue
            file = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.exists() or (anchor and file in pages and unquote(anchor) not in pages[file].anchors):
                yield f"{path.relative_to(site)}: {link}"


def parsed(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text(encoding="utf-8"))
    return links


if __name__ == "__main__":
    sys.exit(main())
