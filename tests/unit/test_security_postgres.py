"""Which passwords may travel to a PostgreSQL, and where they are read from."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from keepstream.app.config.postgres import conninfo
from keepstream.app.config.settings import Settings
from keepstream.app.worker.components import connection_policy

CANARY = "c4nary-secret"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, no .env and no password file of the machine's."""
    import os

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("KEEPSTREAM_", "PG"))]:
        monkeypatch.delenv(name)


REMOTE = f"postgresql://u:{CANARY}@db.example.org/x"
POSTGRES: list[tuple[dict[str, str], bool]] = [
    ({"KEEPSTREAM_POSTGRES__URL": REMOTE}, False),
    ({"KEEPSTREAM_POSTGRES__URL": f"{REMOTE}?sslmode=require"}, False),
    ({"KEEPSTREAM_POSTGRES__URL": f"{REMOTE}?sslmode=verify-ca"}, False),
    ({"KEEPSTREAM_POSTGRES__URL": f"{REMOTE}?sslmode=verify-full"}, True),
    ({"KEEPSTREAM_POSTGRES__URL": REMOTE, "PGSSLMODE": "verify-full"}, True),
    ({"KEEPSTREAM_POSTGRES__URL": REMOTE, "KEEPSTREAM_POSTGRES__ALLOW_INSECURE_CREDENTIALS": "true"}, True),
    ({"KEEPSTREAM_POSTGRES__URL": "postgresql://u@db.example.org/x"}, True),
    ({"KEEPSTREAM_POSTGRES__URL": "postgresql://u@db.example.org/x", "PGPASSWORD": CANARY}, False),
    ({"KEEPSTREAM_POSTGRES__URL": "postgresql://u@db.example.org/x", "PGPASSFILE": "<secret>"}, False),
    ({"KEEPSTREAM_POSTGRES__URL": "postgresql://u@db.example.org/x", "KEEPSTREAM_POSTGRES__PASSWORD_FILE": "<secret>"},
     False),
    ({"KEEPSTREAM_POSTGRES__URL": f"host=db.example.org password={CANARY}"}, False),
    ({"KEEPSTREAM_POSTGRES__URL": f"postgresql://u:{CANARY}@127.0.0.1,db.example.org/x"}, False),
    ({"KEEPSTREAM_POSTGRES__URL": f"postgresql://u:{CANARY}@localhost/x?hostaddr=10.0.0.1"}, False),
    ({"KEEPSTREAM_POSTGRES__URL": f"postgresql://u:{CANARY}@127.0.0.1,localhost,[::1]/x"}, True),
    ({"KEEPSTREAM_POSTGRES__URL": f"postgresql://u:{CANARY}@%2Frun%2Fpostgresql/x"}, True),
    ({"KEEPSTREAM_POSTGRES__URL": f"postgresql:///x?password={CANARY}", "PGHOST": "db.example.org"}, False),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "goes"), POSTGRES)
def test_a_password_leaves_this_machine_for_a_verified_server_only(
    variables: dict[str, str], goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("s3cret")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("<secret>", str(tmp_path / "secret")))
    if goes:
        Settings()
        return
    with pytest.raises(ValidationError, match="sslmode=verify-full and sslrootcert=FILE") as caught:
        Settings()
    assert CANARY not in str(caught.value)


def test_what_is_no_url_is_refused_without_being_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__URL", f"postgres//{CANARY}")
    with pytest.raises(ValidationError, match="no libpq URL") as caught:
        Settings()
    assert CANARY not in str(caught.value)


def test_a_rotated_password_is_read_at_the_next_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    monkeypatch.setenv("KEEPSTREAM_POSTGRES__PASSWORD_FILE", str(file))
    settings = Settings().postgres
    url = connection_policy(settings).url
    assert callable(url)
    assert "password=first" in url()
    file.write_text("it's second\n")
    assert "password='it\\'s second'" in url() == conninfo(settings)
    assert "first" not in repr(connection_policy(settings))
