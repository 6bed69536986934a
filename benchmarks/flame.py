"""A flame graph of the worker while it drains a backlog: ``make bench-flame``; py-spy comes from ``.venv-bench``.

Python's side only: py-spy's view into C (``--native``) slows the worker twentyfold. No rate of a profiled run is a
result. A contestant without Python can be measured, not profiled.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace

from benchmarks.contestant import ROOT, Contestant, Course
from benchmarks.events import Backlog
from benchmarks.roster import ALL
from benchmarks.sitting import options, sitting

PY_SPY = ROOT / ".venv-bench" / "bin" / "py-spy"


def profiled(contestant: Contestant, picture: str) -> Contestant:
    """Return the contestant started by py-spy, which writes the picture when the contestant is stopped."""

    def command(course: Course) -> tuple[tuple[str, ...], Mapping[str, str]]:
        argv, environment = contestant.command(course)
        return (str(PY_SPY), "record", "--nonblocking", "--rate", "100", "-o", picture, "--", *argv), environment

    return replace(contestant, command=command, stop_signal=signal.SIGINT)  # SIGTERM ends py-spy without a picture


def main() -> None:
    parser = options("flame")
    parser.add_argument("--bad-share", type=float, default=float(os.environ.get("BAD") or 0))
    given = parser.parse_args()
    wanted = given.only or "keepstream"
    bad = f"-bad-{given.bad_share:g}" if given.bad_share else ""
    with sitting("flame", given) as now:
        now.results.mkdir(parents=True, exist_ok=True)
        for contestant in ALL:
            if contestant.name in wanted.split(","):
                picture = now.results / f"flame-{contestant.name}{bad}.svg"
                now.measure(profiled(contestant, str(picture)), Backlog(given.events, bad_share=given.bad_share))
                picture.write_text(picture.read_text().replace(f"{ROOT}/", ""))  # its title is the whole command line
                print(picture)


if __name__ == "__main__":
    if not PY_SPY.is_file():
        sys.exit(f"no {PY_SPY.relative_to(ROOT)}: `make bench-flame` installs it")
    main()
