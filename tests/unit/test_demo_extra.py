"""`keepstream demo` without the extra `embedded`: named, or added where uv can add it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from keepstream.app.cli import demo as module
from keepstream.app.cli.demo import demo
from keepstream.app.config.base import VERSION
from keepstream.app.errors import KeepstreamError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Hide the extra; yields the command lines that replaced this process."""
    found: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "keepstream.app.demo.run", None)
    monkeypatch.setattr(os, "execv", lambda _path, argv: found.append(argv))
    monkeypatch.setattr(sys, "argv", ["keepstream", "--debug", "demo", "--events", "500"])
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv(module._WITH_EXTRA, "")
    yield found
    monkeypatch.undo()


def test_without_uv_the_extra_is_named(started: list[list[str]]) -> None:
    error = CliRunner().invoke(demo).exception
    assert isinstance(error, KeepstreamError)
    assert error.hint == "pip install 'keepstream[embedded]'"
    assert not started


@pytest.mark.parametrize(
    ("direct_url", "requirement"),
    [
        (None, f"keepstream[embedded]=={VERSION}"),
        (
            '{"url": "file:///dist/keepstream.whl", "archive_info": {}}',
            "keepstream[embedded] @ file:///dist/keepstream.whl",
        ),
    ],
    ids=["from an index", "from a file"],
)
def test_under_uvx_it_starts_again_with_the_extra_once(
    direct_url: str | None, requirement: str, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV", "/bin/uv")
    monkeypatch.setattr(module, "distribution", lambda _name: Installed(direct_url))
    CliRunner().invoke(demo)
    (argv,) = started
    assert argv[:3] == ["/bin/uv", "tool", "run"]
    assert argv[argv.index("--from") + 1 :] == [requirement, "keepstream", "--debug", "demo", "--events", "500"]
    CliRunner().invoke(demo)
    assert len(started) == 1


class Installed:
    version = VERSION

    def __init__(self, direct_url: str | None) -> None:
        self._direct_url = direct_url

    def read_text(self, _name: str) -> str | None:
        return self._direct_url
