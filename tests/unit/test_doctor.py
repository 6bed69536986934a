"""What `doctor` does with a broker that will not tell it everything."""

from __future__ import annotations

from typing import Any, cast

import pytest

from keepstream.app.cli.doctor import _elections


@pytest.mark.parametrize(
    ("answer", "warnings"),
    [({}, 0), ({"unclean.leader.election.enable": "true"}, 1), (TimeoutError(), 0)],
    ids=["no such setting", "it may lose what it acknowledged", "no answer"],
)
def test_a_setting_that_cannot_be_read_is_no_warning(
    answer: dict[str, str] | Exception, warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def topic_config(_admin: object, _name: str) -> dict[str, str]:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("keepstream.app.cli.topics.topic_config", topic_config)
    assert len(list(_elections(cast("Any", None), "events"))) == warnings
