"""The command line. Parses, calls, prints; decides nothing. A module per command group, imported when called."""

from __future__ import annotations

import os
import signal


def handle_signals_as_pid1() -> None:
    """Install handlers of SIGTERM and SIGALRM in process 1 of a container, which their default action does not kill.

    Before all imports, which take a third of a second; a command that drains replaces the first. Python runs a handler
    between two bytecodes of the main thread, so an init (``docker run --init``) is better: it always ends the process.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_signal: os._exit(128 + signal.SIGTERM))
        signal.signal(signal.SIGALRM, lambda *_signal: os._exit(70))  # as `exit_within` expects


def main() -> None:
    """Run the command line and exit with its code."""
    handle_signals_as_pid1()
    from keepstream.app.cli.root import run

    run()
