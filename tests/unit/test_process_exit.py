"""Exit of the process, tested in child processes: it ends with the right code, whatever hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

FATAL = "from keepstream.app.process import exit as fatal"
FULL_PIPE = """
import os
os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(2, True)
"""
HUNG_THREAD = """
import threading
threading.Thread(target=threading.Event().wait).start()
"""


def exit_code_of(code: str, stderr: int = subprocess.PIPE) -> tuple[int, str]:
    """Run a program whose stderr nobody reads until it has ended."""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=stderr)
    try:
        code_seen = process.wait(10)
        return code_seen, process.stderr.read().decode() if process.stderr else ""
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def test_the_reason_is_one_line_and_the_code_is_70() -> None:
    code, said = exit_code_of("from keepstream.app.process.exit import exit_fatal; exit_fatal(ValueError('why'))")
    assert (code, said.splitlines()) == (70, ["fatal: ValueError: why"])


@pytest.mark.parametrize(
    "trouble", [FULL_PIPE, HUNG_THREAD, "import os; os.close(2)", "import sys; sys.stderr = None; sys.stdout.close()"],
    ids=["stderr is a full pipe", "a thread hangs", "stderr is closed", "no streams"],
)  # fmt: skip
def test_a_hanging_log_does_not_delay_a_fatal_exit(trouble: str) -> None:
    assert exit_code_of(f"{trouble}\n{FATAL}\nfatal.LOG_TIMEOUT_S = 0.5\nfatal.exit_fatal('why')")[0] == 70


def test_the_deadline_ends_a_hanging_process() -> None:
    started = time.monotonic()
    code, _ = exit_code_of(
        "from keepstream.app.process.exit import exit_within; exit_within(0.5, 7); import time; time.sleep(60)"
    )
    assert code == 7
    assert time.monotonic() - started < 5


def test_a_thread_that_never_starts_does_not_delay_a_fatal_exit() -> None:
    """Out of memory, a thread may end before it has told that it runs: its starter waits for ever."""
    no_start = "import threading\nthreading.Thread._bootstrap = lambda thread: None"
    code, _ = exit_code_of(f"{no_start}\n{FATAL}\nfatal.LOG_TIMEOUT_S = 0.5\nfatal.exit_fatal('why')")
    assert code == -signal.SIGALRM


def test_process_1_of_a_container_exits_at_sigalrm() -> None:
    """Without memory for a thread, as above; the image has no init before the worker."""
    no_start = "import threading\nthreading.Thread._bootstrap = lambda thread: None"
    handlers = "from keepstream.app.cli import handle_signals_as_pid1\nhandle_signals_as_pid1()"
    main = f"{handlers}\n{FATAL}\nfatal.LOG_TIMEOUT_S = 0.5\nfatal.exit_fatal('why')"
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a process namespace (unshare --user --pid)")
    ended = subprocess.run([*inside, sys.executable, "-c", f"{no_start}\n{main}"], check=False, timeout=20)
    assert ended.returncode == 70


@pytest.mark.parametrize(("error", "code"), [("MemoryError", 70), ("ValueError", 0)])
def test_a_thread_that_ends_out_of_memory_ends_the_worker(error: str, code: int) -> None:
    thread = f"import threading\ndef work(): raise {error}\nthreading.Thread(target=work).start()"
    guard = f"{FATAL}\nfatal.exit_on_thread_memory_error()"
    assert exit_code_of(f"{guard}\n{thread}")[0] == code
