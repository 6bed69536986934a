"""The schema moves on while workers of the version before it run, and old and new ones work side by side."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from keepstream.sinks.postgres.migrate import migrations
from tests.acceptance.conftest import System, Worker
from tests.acceptance.traffic import Traffic
from tests.import_names import LAYERS, lay_out
from tests.real import Database, Kafka, Servers, eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.long]

CHECKOUT = Path(__file__).resolve().parents[2]
OLD_SCHEMA = len(migrations()) - 1
PARTITIONS = 4


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product as it was before the newest migration."""
    folder = tmp_path_factory.mktemp("old")
    git, tar = shutil.which("git"), shutil.which("tar")
    if not git or not tar:
        pytest.skip("git or tar is not here")
    newest = f"sinks/postgres/migrations/{len(migrations()):04}_*.sql"
    came_with = subprocess.run(
        [git, "-C", str(CHECKOUT), "log", "--diff-filter=A", "--format=%H", "-1", "--", newest],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    packed = subprocess.run(
        [git, "-C", str(CHECKOUT), "archive", f"{came_with}^", *LAYERS], capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip("the history is not here")
    subprocess.run([tar, "-x", "-C", str(folder)], input=packed.stdout, check=True)
    if (folder / "app" / "public").is_dir():
        lay_out(folder, folder)
    else:  # a version from before the package `keepstream`
        (folder / "keepstream" / "app").mkdir(parents=True)
        (folder / "keepstream" / "app" / "__main__.py").write_text("from app.cli import main\n\nmain()\n")
        for package in ("keepstream", "keepstream/app"):
            (folder / package / "__init__.py").touch()
    return folder


@pytest.fixture
def old_system(kafka: Kafka, servers: Servers, old_tree: Path, tmp_path: Path) -> Iterator[System]:
    """A system whose schema the old version made."""
    database = Database(servers.postgres_url, f"t_{uuid.uuid4().hex[:12]}")
    system = System(kafka, database, tmp_path, PARTITIONS)
    system.cli("db", "migrate", PYTHONPATH=str(old_tree))
    yield system
    system.stop()
    with database.connect() as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(database.schema)))


def schema_version(system: System) -> int:
    version: int = system.database.value("SELECT max(version) FROM schema_migrations")
    return version


def settled_more(system: System, records: int = 600) -> None:
    now = system.database.totals()["total"]
    eventually(lambda: system.database.totals()["total"] > now + records, 60, "events flow")


def reads(worker: Worker) -> bool:
    return any(line["event"].startswith("reading ") for line in worker.log())


def test_a_migration_under_load_and_old_and_new_workers_side_by_side(old_system: System, old_tree: Path) -> None:
    assert schema_version(old_system) == OLD_SCHEMA
    old = [old_system.start_worker(PYTHONPATH=str(old_tree)) for _ in range(2)]
    eventually(lambda: all(map(reads, old)), 90, "old workers read")
    traffic = Traffic(old_system, per_second=400)
    with traffic.flowing():
        settled_more(old_system)
        old_system.cli("db", "migrate")
        assert schema_version(old_system) == len(migrations())
        settled_more(old_system)
        new = old_system.start_worker()
        eventually(lambda: reads(new), 60, "a new worker reads beside the old ones")
        settled_more(old_system)
        for worker in old:
            assert worker.process.exit_code is None
            assert worker.process.stop(timeout_s=20) == 0
        settled_more(old_system)
    old_system.settled(traffic.produced, 60)
    old_system.assert_consistent()
    assert old_system.database.totals()["duplicate"] == 0
    assert old_system.database.totals()["failed"] == 0
    print(f"longest stall {traffic.longest_s:.2f} s")
    assert traffic.longest_s < 5
