"""Every command line of the documentation is run by a shell, on real parts, as it stands there.

Those of README.md and of docs/examples are run in their order in one shell session, in a clean folder, with nothing put
in their place. On the other pages placeholders become what they stand for. `tests/unit/test_documented_commands.py`
holds the options of all of them against the program; what is not run here is named in `ELSEWHERE`, with who runs it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance import json_shapes
from tests.acceptance.conftest import System
from tests.acceptance.shell_session import STAYS, ShellSession, shell_session
from tests.builders import make_value
from tests.real import Servers, eventually
from tests.unit.test_documentation import ALL

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
STORIES = {page.parent.name: page for page in (CHECKOUT / "docs/examples").glob("*/README.md")}
STORIES["README"] = CHECKOUT / "README.md"
ELSEWHERE = {
    "make": "they are the targets themselves: `make test`, `make test-long`, `make release-check`",
    "docker": "needs Docker; tests/container runs the file",
    "kubectl": "needs a cluster; `make manifests` builds and validates what it would apply",
    "pip": "test_wheel.py installs the wheel with its extras; the FastAPI example runs its own",
    "uv": "installs from an index, as pip does",
    "uvicorn": "test_fastapi_example.py starts it",
    "export": "settings, which the lines get from the test; test_custom_events.py and the security tests use them",
}
SAYS = {"worker": r"reading \d+ partitions", "web": "http://"}
LETTERS = 6


def lines_of(page: Path) -> Iterator[str]:
    """Yield the lines of the ``sh`` blocks as a shell would see them: continued ones and open quotes are joined."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        whole = ""
        for line in block.replace("\\\n", " ").splitlines():
            whole += line + "\n"
            if is_closed(whole):
                yield from [whole.strip()] if whole.strip() else []
                whole = ""


def is_closed(script: str) -> bool:
    """Whether no quote is left open."""
    try:
        shlex.split(script, comments=True)
    except ValueError:
        return False
    return True


def program_of(line: str) -> str:
    return re.sub(r"^([A-Z_]+=('[^']*'|\S*) +)*", "", line).split()[0]


def to_run(page: Path) -> list[str]:
    """A watch draws on a terminal only; tests/acceptance/test_status.py runs it with --json."""
    lines = dict.fromkeys(lines_of(page))
    return [line for line in lines if program_of(line) not in ELSEWHERE and "--watch" not in line]


@pytest.fixture
def lived(new_system: Callable[..., System], tmp_path: Path) -> System:
    """A system as one that has run for a while: events, dead letters of two kinds, replays that were interrupted."""
    system = new_system(partitions=6, KEEPSTREAM_WEB__PORT="0", PYTHONUNBUFFERED="1", KEEPSTREAM_WEB__TOKEN="t" * 32)
    system.kafka.create_topic(f"{system.dlq_topic}-parked", config=DEAD_LETTER_TOPIC_CONFIG)
    system.database.execute("ALTER TABLE events ADD CONSTRAINT small CHECK (length(payload ->> 'text') < 30)")
    system.start_worker()
    producer = Producer({"bootstrap.servers": system.kafka.bootstrap_servers})
    for number in range(LETTERS):
        producer.produce(system.topic, make_value())
        producer.produce(system.topic, make_value(payload={"text": "x" * 40, "amount": number}))
    producer.flush(30)
    system.settled(2 * LETTERS)
    for name in ("sample.jsonl", "orders.jsonl"):
        (tmp_path / name).write_bytes(make_value() + b"\n")
    (tmp_path / "deploy").symlink_to(CHECKOUT / "deploy")
    return system


def filled_in(line: str, system: System) -> str:
    """Put what a reader would have at hand in the place of what stands for it."""
    name = "topic || '-' || partition || '-' || \"offset\""
    letter = str(system.database.value(f"SELECT {name} FROM dead_letters ORDER BY state <> 'open' LIMIT 1"))
    if "--resume" in line:
        system.cli("dlq", "replay", "--include-resolved", "--yes")
        replay = str(system.database.value("SELECT max(id) FROM replays"))
        line = line.replace("--resume 3", f"--resume {replay}")
    elif "dlq replay" in line:
        line = line.replace("dlq replay", "dlq replay --yes")
    line = (
        line.replace("order-4711-0-17", letter)
        .replace("REASON", "check_violation")
        .replace("$WORKER", worker_of(system))
    )
    line = re.sub(r"\bshow ID\b", f"show {letter}", line)
    line = re.sub(r"(--topic|--origin) orders\b", rf"\1 {system.topic}", line)
    line = line.replace("search_path=keepstream", f"search_path={system.database.schema}")
    return line.replace("--http-port 9108", "--http-port 0")


def worker_of(system: System) -> str:
    return f"127.0.0.1:{system.workers[0]._port()}"


def environment(system: System, shim: Path) -> dict[str, str]:
    schema = {"PGOPTIONS": f"-c search_path={system.database.schema}"}
    urls = dict.fromkeys(("OWNER_URL", "ADMIN_URL"), system.database.url)
    places = {"PATH": f"{shim}:{os.environ['PATH']}", "HOME": str(system.folder)}
    return {**os.environ, **system.settings(), **schema, **urls, **places}


@pytest.mark.long
@pytest.mark.parametrize("page", [*filter(to_run, PAGES)], ids=lambda page: page.stem)
def test_the_lines_of_a_page_do_what_they_say(lived: System, shim: Path, page: Path) -> None:
    variables = environment(lived, shim)
    make_tables_of(page, lived)
    for line in to_run(page):
        run(filled_in(line, lived), variables, lived.folder)


def make_tables_of(page: Path, system: System) -> None:
    """Run the page's SQL that makes something."""
    with system.database.connect() as connection:
        for block in re.findall(
            r"^```sql\n(CREATE .*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'keepstream_worker'").fetchone():
                connection.execute("CREATE ROLE keepstream_worker")
            connection.execute(block.encode())


def run(line: str, variables: dict[str, str], folder: Path) -> None:
    if word := STAYS.match(line):
        ended, said = until_stopped(line, SAYS[word[1]], variables, folder)
    else:
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=variables, cwd=folder, input=answers(line), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        ended, said = done.returncode, done.stdout + done.stderr
    assert "Traceback" not in said, f"{line}\n{said}"
    assert ended in allowed(line), f"{line}\n{said}"


def answers(line: str) -> str:
    """Return what a person types."""
    return "correct horse battery staple\n" * 2 if "--hash-password" in line else "y\n"


def allowed(line: str) -> set[int]:
    """Return with which codes a line may end: a filter that finds nothing on a good day ends with 1."""
    return {0, 1} if "grep" in line else {0, 130} if STAYS.match(line) else {0}


def until_stopped(line: str, says: str, variables: dict[str, str], folder: Path) -> tuple[int, str]:
    """Let it run until it says that it works, then ask it to stop as a terminal would."""
    log = folder / "stays.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {line}"], env=variables, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            eventually(lambda: re.search(says, log.read_text(errors="replace")) or running.poll() is not None, 90, says)
            running.send_signal(signal.SIGINT)
            return running.wait(60), log.read_text(errors="replace")
        finally:
            running.kill()


@pytest.fixture
def reader(servers: Servers, tmp_path: Path, shim: Path) -> Iterator[ShellSession]:
    """A shell in a clean folder, at the depth of an example in a checkout."""
    folder = tmp_path / "docs/examples/mine"
    folder.mkdir(parents=True)
    (tmp_path / "deploy").symlink_to(CHECKOUT / "deploy")
    with shell_session(servers, folder, shim) as session:
        yield session


JSON_PAGE = CHECKOUT / "docs/reference/json.md"


@pytest.mark.long
def test_the_page_about_json_is_what_the_commands_print(lived: System) -> None:
    """`make docs-json` writes it."""
    system, name = lived, "topic || '-' || partition || '-' || \"offset\""
    letter, dead, stored = (str(system.database.value(query)) for query in (
        f"SELECT {name} FROM dead_letters LIMIT 1", "SELECT event_id FROM dead_letters LIMIT 1",
        "SELECT event_id FROM events WHERE status = 'delivered' LIMIT 1",
    ))  # fmt: skip
    line = system.folder / "sample.jsonl"
    line.write_bytes(b'{"id": 1}\n')
    system.database.execute("CREATE TABLE orders (event_id text PRIMARY KEY, amount int)")
    table = {"KEEPSTREAM_TABLE__NAME": "orders", "KEEPSTREAM_TABLE__COLUMNS": '{"amount": "/amount"}'}
    system.cli("dlq", "export", "--output", "dead.jsonl")
    asked = {
        "demo": ["--events", "100"], "events list": [], "events produce": [str(line)], "events show": [dead],
        "events validate": [str(line)], "dlq list": [], "dlq show": [letter], "dlq stats": [],
        "dlq replay": ["--wait", "--yes", letter], "dlq import": ["dead.jsonl"],
        "dlq purge": ["--until", "1s", "--yes"], "db migrate": [], "db prune": ["--until", "1s", "--yes"],
        "db status": [], "tables plan": [], "tables apply": ["--yes"],
        "topics ensure": [], "topics status": [], "audit": [], "status": [], "lag": [], "doctor": [],
        "config show": [],
    }  # fmt: skip
    assert set(asked) == {words.removeprefix("keepstream ") for words, command in ALL.items()
                          if any(option.name == "as_json" for option in command.params)}  # fmt: skip
    fresh = f"{system.database.schema}_json"
    outputs = {
        "events show": system.cli("events", "show", "--json", stored).stdout,
        "db migrate": system.cli("db", "migrate", "--json", KEEPSTREAM_POSTGRES__SCHEMA_NAME=fresh).stdout,
    }
    for words, arguments in asked.items():
        code = 1 if words in ("events validate", "tables plan") else 0
        settings = table if words.startswith("tables") else {}
        printed = system.cli(*words.split(), "--json", *arguments, exit_code=code, **settings).stdout
        outputs[words] = outputs.pop(words, "") + printed
    written = json_shapes.page(outputs)
    if os.environ.get("KEEPSTREAM_WRITE_DOCS"):
        JSON_PAGE.write_text(written, encoding="utf-8")
    assert JSON_PAGE.read_text(encoding="utf-8") == written


RESULTS = {
    "README": ("SELECT event_id, status FROM events ORDER BY 1",
               [(number, "delivered") for number in ("4711", "4712", "4713")]),
    "orders": ("SELECT order_no, amount::int FROM orders ORDER BY 1", [(4711, 13), (4712, 80), (4713, 30)]),
    "dead-letters-of-spring": ("SELECT letter_id, state, target_topic FROM replay_letters",
                               [("orders-0-5@billing", "produced", "orders")]),
}  # fmt: skip
"""What is in PostgreSQL when the last line has been run."""


@pytest.mark.parametrize("story", RESULTS)
def test_readme_and_examples_do_what_they_say_as_they_stand(story: str, reader: ShellSession) -> None:
    for file in STORIES[story].parent.iterdir() if story != "README" else ():
        (reader.folder / file.name).write_bytes(file.read_bytes())
    for line in lines_of(STORIES[story]):
        if program_of(line) not in ELSEWHERE or line.startswith("export"):
            code, said = reader.run(line)
            assert "Traceback" not in said, f"{line}\n{said}"
            assert code in ({0, 1} if "events validate" in line else {0}), f"{line}\n{said}"
    query, expected = RESULTS[story]
    assert reader.rows(query) == expected


def test_what_is_not_run_here_is_named() -> None:
    """The list of exceptions holds what the pages use, and the pages have lines to run."""
    programs = {program_of(line) for page in (*PAGES, *STORIES.values()) for line in lines_of(page)}
    assert set(ELSEWHERE) - {"kubectl"} <= programs
    assert programs - set(ELSEWHERE) == {"keepstream", "curl", "psql", "mkdir", "echo"}
    assert sum(len(to_run(page)) for page in PAGES) > 40
