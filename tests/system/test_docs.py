"""The documentation is true: its commands are run, or listed here with the reason why not; its links lead somewhere."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flychat.web.problems import STATUSES
from tests.conftest import need
from tests.support.program import PATIENCE, ROOT, Program, environment, running

GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [
    *(*GUIDES, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", ROOT / "deploy" / "README.md"),
    *sorted((ROOT / "tests").rglob("README.md")),
]
BLOCK = re.compile(r"^( *)```(?:sh|console)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SERVER_IN_GUIDES = re.compile(r"http://127\.0\.0\.1:3000|https://chat\.example\.org")


def commands(guide: Path) -> list[str]:
    """The commands of its blocks, in order, without their continuations, comments and prompts."""
    lines = "".join(block for _, block in BLOCK.findall(guide.read_text())).replace("\\\n", " ").splitlines()
    found = (re.sub(r"\s+", " ", line.removeprefix("$ ").partition(" #")[0]).strip() for line in lines)
    return [command for line in found for command in line.split(" && ") if command]


def as_installed(words: list[str]) -> list[str]:
    """The words of a command, for this Python, in which flychat is installed."""
    if words[0] == "flychat":
        return [sys.executable, "-P", "-m", *words]
    return [sys.executable if words[0].endswith("python") else words[0], *words[1:]]


ALL = {command: guide.name for guide in GUIDES for command in commands(guide)}


class Session:
    """A reader of the guides, in a folder of their own, with the server that the first command started."""

    def __init__(self, program: Program, cwd: Path) -> None:
        self.url, self.cwd = program.url, cwd
        self.ending = contextlib.ExitStack()
        self.stream: Iterator[str] = iter(())

    def words(self, command: str, *more: str) -> list[str]:
        words = [SERVER_IN_GUIDES.sub(self.url, word) for word in shlex.split(command)]
        return [*as_installed(words), *more]

    def run(self, command: str, *more: str) -> str:
        """What it prints; it has to succeed."""
        words = self.words(command, *more)
        ended = subprocess.run(
            words, cwd=self.cwd, env=environment(), capture_output=True, text=True, timeout=PATIENCE
        )
        assert ended.returncode == 0, (ended.stdout, ended.stderr)
        return ended.stdout

    def begin(self, command: str) -> Iterator[str]:
        """The lines that it prints, as they come. It is killed at the end, or when they do not come."""
        process = self.ending.enter_context(
            subprocess.Popen(
                self.words(command),
                cwd=self.cwd,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        self.ending.callback(process.kill)
        self.ending.callback(guard.cancel)
        return (line.removesuffix("\n") for line in process.stdout)


def until(lines: Iterator[str], wanted: str) -> list[str]:
    """The lines up to the first that contains `wanted`."""
    seen = []
    for line in lines:
        seen.append(line)
        if wanted in line:
            return seen
    pytest.fail(f"{wanted!r} is not in {seen}")


# What a reader does while the server of the first command runs, in the order in which it is told.


def left_running(session: Session, command: str) -> None:
    session.stream = session.begin(command)
    assert until(session.stream, "event:")[-1] == "event: stream-open"


def form(session: Session, command: str) -> None:
    message = json.loads(session.run(command))
    assert (message["id"], message["from"], message["text"]) == (1, "ann", "Hello, is anybody here?")
    assert until(session.stream, "id: 1")  # seen in the other terminal


def as_json(session: Session, command: str) -> None:
    message = json.loads(session.run(command))
    assert (message["id"], message["from"], message["text"]) == (2, "bob", "Yes!")
    assert json.loads(session.run(command)) == message  # "answered with the same message"
    assert until(session.stream, "id: 2")


def from_a_position(session: Session, command: str) -> None:
    seen = until(session.begin(command), "id: ")
    assert seen[-1] == "id: 2"


def the_past(session: Session, command: str) -> None:
    page = json.loads(session.run(command))
    assert [message["id"] for message in page["messages"]] == [1, 2]
    assert page["lastEventId"] == 2  # "not stored twice"


def check(session: Session, command: str) -> None:
    assert session.run(command, "--quick").endswith("all is well\n")  # without it, it takes 20 s


def tail(session: Session, command: str) -> None:
    lines = session.begin(command)
    first = next(lines)
    if "--json" in command:
        assert (json.loads(first)["id"], json.loads(first)["from"]) == (1, "ann")
    else:
        assert first == "1 ann: Hello, is anybody here?"
    if "--count 10" in command:  # and it ends; there are two so far
        for number in range(3, 11):
            session.run(f"python -m flychat say {session.url}/tea {number}")
        assert len(list(lines)) == 9


def say(session: Session, command: str) -> None:
    sender, *text = shlex.split(command.partition(" --from ")[2])
    assert session.run(command).endswith(f" {sender}: {' '.join(text)}\n")


ROOM = "http://127.0.0.1:3000/rooms/tea/messages/"
STREAM = "curl -N -H 'Accept: text/event-stream'"
SAID: dict[str, Callable[[Session, str], None]] = {
    f"{STREAM} {ROOM}": left_running,
    f"curl {ROOM} -d from=ann -d text='Hello, is anybody here?'": form,
    f"curl {ROOM} -H 'Content-Type: application/json' "
    '-d \'{"from": "bob", "text": "Yes!", "provisionalId": "0b6a5cf8-7f1c-4f5e-9f30-5d0f6d3c1f4e"}\'': as_json,
    f"{STREAM} -H 'Last-Event-ID: 1' {ROOM}": from_a_position,
    f"curl '{ROOM}?before=3&limit=2'": the_past,
    ".venv/bin/python -m flychat check http://127.0.0.1:3000": check,
    ".venv/bin/python -m flychat tail http://127.0.0.1:3000/tea": tail,
    ".venv/bin/python -m flychat tail http://127.0.0.1:3000/tea --official --json --since 0 --count 10": tail,
    ".venv/bin/python -m flychat say http://127.0.0.1:3000/tea --from bot 'Hello from a script'": say,
    "flychat check https://chat.example.org": check,
    "flychat tail https://chat.example.org/tea": tail,
    "flychat tail https://chat.example.org/tea --official --json --since 0": tail,
    "flychat say https://chat.example.org/tea --from deploybot Version 2 is out": say,
}

# What starts a program: what has to be there, and what its first line says.
STANDALONE = ".venv/bin/python -m flychat --standalone"
STARTED: dict[str, tuple[str, str]] = {
    STANDALONE: ("", r"flychat: open http://\S+  \(standalone; .*flychat\.db"),
    ".venv/bin/python -m flychat --grip --store sqlite:demo.db": ("", r"flychat: .*\(grip; .*demo\.db"),
    ".venv/bin/python -m flychat --grip --with-pushpin --store sqlite:demo.db": (
        "pushpin",
        r"flychat: open http://\S+  \(grip; .*demo\.db",
    ),
}
CREATED = {
    ".venv/bin/python -m flychat --create-table --store dynamodb:flychat-messages",
    "flychat --create-table --store dynamodb:flychat-messages",
}

INSTALLS = "CI does it: .ci/run is the README's test command, on a bare machine"
TESTS = "runs the tests, of which this is one"
ROOT_ONLY = (
    "changes the machine; tests/system/test_deploy.py has systemd check the unit, and runs flychat with it"
)
STOPPED = "wants a file of no running server; tests/system/test_maintenance.py and test_moving.py run it"
ACCESS = "wants a secret of its own; tests/system/test_access.py runs the same, in both modes"
DOCKER = "wants a Docker daemon; tests/system/test_deploy.py reads the files"
NOT_RUN = {
    "python3 -m venv .venv": INSTALLS,
    ".venv/bin/pip install .": "needs the network; tests/system/test_server.py builds and runs the wheel",
    ".venv/bin/pip install tox": INSTALLS,
    ".venv/bin/tox": TESTS,
    ".venv/bin/tox -e tests -- tests/unit/test_streams.py": TESTS,
    ".venv/bin/tox exec -e lint -- ruff format .": "would change the checkout",
    ".venv/bin/python -m flychat rooms --store sqlite:flychat.db": STOPPED,
    ".venv/bin/python -m flychat export tea --store sqlite:flychat.db": STOPPED,
    ".venv/bin/python -m flychat clear tea --store sqlite:flychat.db": STOPPED,
    "(umask 077; head -c 32 /dev/urandom | base64 > secret)": ACCESS,
    ".venv/bin/python -m flychat --standalone --secret secret --access 'staff*='": ACCESS,
    ".venv/bin/python -m flychat token --secret secret --name Ann --room 'staff=rw' --link http://127.0.0.1:3000": ACCESS,
    ".venv/bin/python -m flychat revoke Ann --url http://127.0.0.1:3000 --secret secret": ACCESS,
    "cd deploy": "of the next one",
    "pushpin --config=pushpin.conf": "its ports are fixed; --with-pushpin and all tests of the GRIP mode use the file",
    "python3 -m venv /opt/flychat": ROOT_ONLY,
    "/opt/flychat/bin/pip install .": ROOT_ONLY,
    "cp deploy/flychat@.service /etc/systemd/system/": ROOT_ONLY,
    "install -m 600 deploy/flychat.env /etc/flychat.env": ROOT_ONLY,
    "systemctl enable --now flychat@3000": ROOT_ONLY,
    "docker compose -f deploy/compose.yaml up --build": DOCKER,
    "docker build -f deploy/Dockerfile -t flychat .": DOCKER,
    "docker run -p 3000:3000 -v flychat:/data flychat": DOCKER,
}


def test_every_command_of_the_guides_is_run_or_has_its_reason():
    known = [*SAID, *STARTED, *CREATED, *NOT_RUN]
    assert len(known) == len(set(known))
    assert {command: guide for command, guide in ALL.items() if command not in known} == {}
    assert [command for command in known if command not in ALL] == []  # nor does the list outlive them


def test_what_the_guides_say_against_the_server_of_the_first_command(tmp_path):
    need("curl")
    words = shlex.split(STANDALONE)[3:]
    with running(*words, "--port", "0", cwd=tmp_path) as program:
        session = Session(program, tmp_path)
        with session.ending:
            for command in filter(SAID.get, ALL):
                SAID[command](session, command)
        assert (tmp_path / "flychat.db").exists()
        assert program.end() == (0, "")


@pytest.mark.parametrize("command", STARTED)
def test_a_server_of_the_guides_starts_and_says_where(tmp_path, command):
    needed, first_line = STARTED[command]
    if needed:
        need(needed)
    ports = ["--port", "0", *(["--pushpin-port", "0"] if "--with-pushpin" in command else [])]
    with running(*shlex.split(command)[3:], *ports, cwd=tmp_path) as program:
        assert re.match(first_line, program.first_line), program.first_line
        with urllib.request.urlopen(f"{program.url}/tea?user=ann") as page:
            assert b"ann" in page.read()
        if needed or "--grip" not in command:
            return
        request = urllib.request.Request(
            f"{program.url}/rooms/tea/messages/", headers={"Accept": "text/event-stream"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value:  # "flychat's own port has pages but no streams (501)"
            assert refused.value.code == 501


def test_the_table_of_the_guides_is_created(tmp_path, dynamo_environ):
    for command in CREATED:
        ended = subprocess.run(
            as_installed(shlex.split(command)),
            cwd=tmp_path,
            env=environment(dynamo_environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert re.match(r'flychat: table "flychat-messages" .* (is created|was there already)$', ended.stdout)


def test_every_option_is_in_the_readme_and_the_readme_has_no_other():
    asked = [sys.executable, "-m", "flychat", "--help"]
    told = subprocess.run(asked, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    there = set(re.findall(r"(?m)^  (?:-h, )?(--[a-z-]+)", told.stdout)) - {"--help", "--version"}
    _, options, _ = re.split(r"(?m)^## (?=Options|How it works)", (ROOT / "README.md").read_text())
    table = [line.split("|")[1] for line in options.splitlines() if line.startswith("| `-")]
    assert set(re.findall(r"--[a-z-]+", " ".join(table))) == there


def test_every_code_of_an_error_and_every_event_of_a_stream_is_in_the_page_of_the_api():
    told = (ROOT / "docs" / "api.md").read_text()
    errors = told.partition("## Errors")[2]
    assert {code for _, code in STATUSES.values() if f"`{code}`" not in errors} == set()
    module = (ROOT / "static" / "stream.js").read_text()
    names = re.findall(r'"([a-z-]+)"', "".join(re.findall(r"(?m)^const (?:EVENTS|END) = (.*);$", module)))
    assert {"stream-open", "stream-end"} < set(names)
    stream = told.partition("### The stream")[2].partition("### ")[0]
    assert {name for name in names if f"| `{name}` |" not in stream} == set()


def test_the_order_of_reading_is_of_files_that_are_there_and_as_long_as_is_said():
    told = (ROOT / "CONTRIBUTING.md").read_text()
    lines, order = re.search(r"(?s)\*\*Read it in this order\*\*, ([\d,]+) lines(.*?)\n\n", told).groups()
    files = [ROOT / "flychat" / f"{name}.py" for name in re.findall(r"`([\w/]+)`", order)]
    counted = sum(len(file.read_text().splitlines()) for file in files)
    assert counted == pytest.approx(int(lines.replace(",", "")), rel=0.05)


def test_every_module_that_is_in_no_folder_has_its_place_in_the_guide():
    told = (ROOT / "CONTRIBUTING.md").read_text()
    there = {file.stem for file in (ROOT / "flychat").glob("*.py") if not file.stem.startswith("__")}
    assert {name for name in there if not re.search(rf"\b{name}\b", told)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_of_the_repository(page):
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    for link in map("".join, links):
        path = link.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            assert (page.parent / path).exists(), link


def test_the_page_on_scaling_is_what_its_program_writes(tmp_path):
    written = tmp_path / "scaling.md"
    command = [sys.executable, "-m", "benchmarks.scaling", "--out", str(written)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=600)
    assert written.read_text() == (ROOT / "docs" / "scaling.md").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 300


@pytest.mark.parametrize(
    "page", ["tox.ini", "setup.cfg", "README.md", "CONTRIBUTING.md", "docs/streams.md", "docs/api.md"]
)
def test_the_files_of_the_tests_that_are_named_are_there(page):
    named = re.findall(r"\btests/[\w/]+\.\w+", (ROOT / page).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []
