"""``python -m tests.mutation``: make each named mistake in a copy of the tree and see which test notices.

Exit code 1 when one is not noticed, when an edit no longer fits, or when the tests fail without any.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.mutation.copy_of_tree import copy_of_tree
from tests.mutation.named import MUTANTS, Mutant

TIMEOUT_S = 180
SURVIVED, FAILED = 0, 1  # pytest's exit codes


def main() -> int:
    with copy_of_tree() as copy:
        noticed = run(copy, dict.fromkeys(test for mutant in MUTANTS for test in mutant.tests))
    if noticed is not None:
        print(f"without any mistake: {noticed}")
        return 1
    survivors = [mutant.name for mutant in MUTANTS if not killed(mutant)]
    print(f"{len(MUTANTS) - len(survivors)} of {len(MUTANTS)} named mutants killed")
    return 1 if survivors else 0


def killed(mutant: Mutant) -> bool:
    """Make the mistake, run the tests, print the line of the table."""
    with copy_of_tree() as copy:
        for edit in mutant.edits:
            file = copy / "keepstream" / edit.path
            text = file.read_text()
            if text.count(edit.old) != 1:
                raise SystemExit(f"{mutant.name}: its edit of {edit.path} does not fit any more")
            file.write_text(text.replace(edit.old, edit.new))
        noticed = run(copy, mutant.tests)
    print(f"{mutant.name:<70} {noticed or 'SURVIVED'}", flush=True)
    return noticed is not None


def run(copy: Path, tests: Iterable[str]) -> str | None:
    """Return what the tests noticed, None when they passed. A mistake that makes them hang is noticed too."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(argv, cwd=copy, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT_S} s"
    if done.returncode not in (SURVIVED, FAILED):
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    failed = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+::\S+)", done.stdout, re.MULTILINE)
    return None if done.returncode == SURVIVED else failed[1] if failed else "a test failed"


if __name__ == "__main__":
    sys.exit(main())
