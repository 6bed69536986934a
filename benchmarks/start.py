"""How long starting takes: ``keepstream --help``, and a worker from its start to its first settled event.

``make bench-start``. The servers run already; each worker finds a topic with events, a new schema and a new group.
"""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.contestant import ROOT, Course
from benchmarks.drain import TOTAL, new_schema
from benchmarks.events import Backlog
from benchmarks.report import write
from benchmarks.roster import KEEPSTREAM
from benchmarks.sitting import options, sitting
from benchmarks.stage import Stage

BACKLOG = Backlog(events=800)
POLL_S, TIMEOUT_S = 0.02, 60.0


def first_settled_s(stage: Stage) -> float:
    """Start a worker; return the seconds to its first commit."""
    stage.fill(BACKLOG)
    with new_schema(stage, KEEPSTREAM) as (connection, schema):
        course = Course(stage.bootstrap_servers, stage.url, schema, BACKLOG, stage.synchronous_commit, stage.folder)
        began = time.monotonic()
        worker = KEEPSTREAM.start(course)
        try:
            while not connection.execute(TOTAL).fetchall()[0][0]:
                if time.monotonic() - began > TIMEOUT_S:
                    raise SystemExit("the worker settled nothing")
                time.sleep(POLL_S)
            return time.monotonic() - began
        finally:
            worker.stop(timeout_s=15)


def help_s() -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-m", "keepstream.app", "--help"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
    )
    return time.monotonic() - began


def main() -> None:
    given = options("start").parse_args()
    with sitting("start", given) as now:
        for number in range(given.runs):
            now.add({"what": "first settled event", "s": round(first_settled_s(now.stage), 2), "round": number})
            now.add({"what": "--help", "s": round(help_s(), 2), "round": number})
    write(now.results)


if __name__ == "__main__":
    main()
