"""``python -m tests.mutation.mutmut``: any mistake that mutmut can think of in the modules that decide about loss.

mutmut lives in a virtual environment of its own (it wants a newer click than Faust allows) and sees ours behind it.
Exit code 1 when fewer than `LEAST_KILLED` of its mutants are killed. A module's name as argument tries that one only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.copy_of_tree import REPO, copy_of_tree

LEAST_KILLED = 0.85
REQUIREMENT = "mutmut==3.8.1"
HOME = REPO / ".venv" / "mutmut"
MODULES = (
    "processors/retry.py", "processors/validation/validate.py", "processors/validation/contract.py",
    "processors/validation/timestamps.py", "processors/validation/rejection.py",
    "processors/partition_queue.py", "processors/dispatcher.py", "processors/replay/replay.py",
    "sinks/postgres/errors.py",
)  # fmt: skip
TESTS = (
    "retry", "foreign_key_wait", "validate", "validate_fallbacks", "ignored", "decode", "envelope", "mapping",
    "mapping_members", "mapping_presets", "custom_contract", "strangers", "written_numbers", "malicious_values",
    "timestamps", "cloudevents", "rejection", "partition_queue", "dispatcher", "pipeline", "replay", "sqlstate",
    "batch_part",
)  # fmt: skip
CONFIG = """
[tool.mutmut]
source_paths = ["keepstream"]
only_mutate = {modules}
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
also_copy = ["docs"]
"""


def main() -> int:
    modules = [f"keepstream/{module}" for module in MODULES if len(sys.argv) == 1 or Path(module).stem in sys.argv[1:]]
    install()
    with copy_of_tree() as copy:
        tests = [f"tests/unit/test_{name}.py" for name in TESTS]
        with (copy / "pyproject.toml").open("a") as config:
            config.write(CONFIG.format(modules=json.dumps(modules), tests=json.dumps(tests)))
        log = mutmut(copy, "run", "--max-children", str(os.cpu_count() or 1))
        mutmut(copy, "export-cicd-stats")
        stats = copy / "mutants" / "mutmut-cicd-stats.json"
        if not stats.exists() or not json.loads(stats.read_text())["killed"]:  # the tests fail without any mutant
            raise SystemExit(log[-3000:])
        return judge(json.loads(stats.read_text()), mutmut(copy, "results"))


def install() -> None:
    """Make mutmut's environment once; our packages stand behind its own."""
    if (HOME / "bin" / "mutmut").exists():
        return
    venv.create(HOME, symlinks=True, with_pip=True)
    pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, REQUIREMENT], check=True)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (HOME / "lib" / name / "site-packages" / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")


def mutmut(copy: Path, *arguments: str) -> str:
    argv: Sequence[str] = [str(HOME / "bin" / "mutmut"), *arguments]
    return subprocess.run(argv, cwd=copy, capture_output=True, text=True, check=False).stdout


def judge(stats: dict[str, int], results: str) -> int:
    """Print the survivors and the share that was killed."""
    killed, total = stats["killed"] + stats["timeout"], stats["total"]
    print("\n".join(line.strip() for line in results.splitlines() if "survived" in line or "no tests" in line))
    print(f"mutmut: {killed} of {total} killed ({killed / total:.1%}; at least {LEAST_KILLED:.0%})")
    return 0 if killed >= LEAST_KILLED * total else 1


if __name__ == "__main__":
    sys.exit(main())
