"""What is installed: every package of the tree, under the import names that the documentation gives."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import keepstream
from tests.import_names import LAYERS

CHECKOUT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_wheel_takes_every_package() -> None:
    folders = [init.parent for layer in LAYERS for init in (CHECKOUT / layer).rglob("__init__.py")]
    found = {".".join(("keepstream", *folder.relative_to(CHECKOUT).parts)) for folder in folders}
    packages = PYPROJECT["tool"]["setuptools"]["packages"]
    assert packages == sorted(packages)
    assert found - {"keepstream.app.public"} | {"keepstream"} == set(packages)


def test_the_public_names_are_there_and_nothing_else_is() -> None:
    assert keepstream.__version__ == PYPROJECT["project"]["version"]
    for name in keepstream.__all__:
        assert getattr(keepstream, name) is not None
    assert not hasattr(keepstream, "Pipeline")


def test_the_public_names_cost_nothing_until_they_are_asked_for() -> None:
    code = "import keepstream, sys; print([name for name in sys.modules if name.startswith('pydantic')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_help_of_a_command_imports_no_large_package() -> None:
    code = (
        "import sys; from keepstream.app.cli.root import dlq, root\n"
        "for group in root, dlq:\n"
        "    for name in group.list_commands(None): group.get_command(None, name)\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'pydantic', 'psycopg', 'confluent_kafka', 'rich'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_packages_of_a_users_own_with_our_folder_names_are_not_in_the_way(tmp_path: Path) -> None:
    for name in LAYERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "app" / "orders.py").write_text(
        "from keepstream import Event\n\n\nclass Order(Event):\n    note: str\n"
    )
    (tmp_path / "lines.jsonl").write_text('{"event_id": "e-1", "payload": {}}\n')
    argv = [sys.executable, "-P", "-m", "keepstream.app"]
    environment = {"PYTHONPATH": str(tmp_path), "KEEPSTREAM_CONTRACT": "app.orders:Order", "COLUMNS": "200"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert run("--version").stdout.strip().endswith(keepstream.__version__)
    for command in ("worker", "demo", "dlq", "web", "db", "doctor", "audit", "status", "lag", "topics", "config"):
        assert run(command, "--help").returncode == 0, command
    refused = run("events", "validate", "lines.jsonl")
    assert refused.returncode == 1
    assert "note: is required and absent" in refused.stdout + refused.stderr


def test_without_the_extra_the_console_names_it() -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None; sys.argv[1:] = ['web']; from keepstream.app.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'keepstream[console]'" in done.stderr
