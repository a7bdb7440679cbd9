"""The house stands as drawn: who may import whom, read from the imports."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "flychat"
PURE = {"access", "commits", "errors", "fields", "messages", "names", "signals", "sse", "streams", "values"}
PORTS = {"storage", "hub"}
ENGINES = {"storage.sqlite", "storage.dynamodb"}
NAMED_BY = {  # parts that one place chooses, and nobody else knows
    "hub.local": {"server"},
    "hub.pushpin": {"server"},
    "storage.sqlite": {"storage.opened"},
    "storage.sqlite_database": {"storage.sqlite", "storage.sqlite_backup"}
    | {"storage.sqlite_put", "storage.sqlite_read"},
    "storage.sqlite_put": {"storage.sqlite"},
    "storage.sqlite_read": {"storage.sqlite"},
    "storage.sqlite_backup": {"tools.backup"},
    "storage.dynamodb": {"storage.opened"},
    "storage.dynamodb_items": {"storage.dynamodb", "storage.dynamodb_reads"},
    "storage.dynamodb_direct": {"storage.dynamodb_table"},
    "storage.dynamodb_reads": {"storage.dynamodb"},
    "storage.dynamodb_table": {"storage.dynamodb", "storage.dynamodb_items", "tools.table"},
    "storage.metrics": {"server"},
    "web.held": {"server"},
    "web.shortcut": {"web.held"},
    "web.heads": {"web.base", "web.held", "web.listener", "web.shortcut"},
    "web.plain": {"web.cold_rooms", "web.held", "web.shortcut"},
    "web.accepting": {"web.clients", "web.cold_rooms", "web.held", "web.shortcut"},
    "web.clients": {"web.shortcut"},
    "web.cold_rooms": {"web.held", "web.shortcut"},
    "web.listener": {"server", "web.accepting", "web.base", "web.clients", "web.messages", "web.shortcut"},
    "web.lingering": {"web.listener"},
    "web.targets": {"web.listener"},
    "web.turns": {"web.accepting", "web.application", "web.clients", "web.cold_rooms"},
    "listening": {"server"},
    "private_pushpin": {"server"},
    "server": {"__main__"},
    "tools": {"__main__"},
    "options": {"config"},
}
CLIENT = {"client", "client.follower", "client.http"}
STORE = {"config", "log", "log.clearing", "storage", "storage.opened"}
STORE |= {"storage.dynamodb_table", "storage.sqlite_backup"}
ACCESS = {"access.passwords", "access.revocations", "access.rulebook", "access.secret_file", "access.tokens"}
LINES = 300
TORNADO = {
    "application",
    "assets",
    "base",
    "credentials",
    "forms",
    "heads",
    "listener",
    "messages",
    "pages",
    "shortcut",
    "removals",
    "rights",
    "session",
    "status",
    "targets",
    "visitor",
}
TECHNOLOGY = {
    "jwt": {"access.jwks", "access.opened", "access.tokens", "hub.grip"},
    "tornado": {"access.jwks", "hub.publisher", "listening", "resolver"}
    | {f"web.{part}" for part in TORNADO},
    "jinja2": {"web.application"},
    "gripcontrol": {"hub.grip"},
    "sqlite3": {"storage.sqlite_database", "storage.sqlite_put", "storage.sqlite_read"},
    "aiohttp": {"client.http", "private_pushpin", "storage.dynamodb_direct"},
    "aioboto3": {"storage.dynamodb_table"},
    "aiobotocore": {"storage.dynamodb_table"},
    "botocore": {f"storage.dynamodb{part}" for part in ("", "_items", "_direct", "_table")},
}
ALLOWED = {
    "__init__": set(),
    **dict.fromkeys(PURE | PORTS, PURE),
    "storage.sqlite": PURE
    | {"storage", "storage.files", "storage.sqlite_database", "storage.worker"}
    | {"storage.sqlite_put", "storage.sqlite_read"},
    "storage.sqlite_database": PURE | {"storage", "storage.files"},
    "storage.sqlite_backup": PURE | {"storage.sqlite_database"},
    "storage.sqlite_put": PURE | {"storage", "storage.sqlite_database"},
    "storage.sqlite_read": {"storage.sqlite_database", "storage.worker"},
    "storage.dynamodb": PURE
    | {"storage", "storage.calls", "seldom"}
    | {f"storage.dynamodb_{part}" for part in ("items", "reads", "table")},
    "storage.dynamodb_items": PURE | {"storage", "storage.dynamodb_table"},
    "storage.dynamodb_direct": set(),
    "storage.dynamodb_reads": PURE | {"storage", "storage.dynamodb_items", "storage.calls"},
    "storage.dynamodb_table": PURE | {"storage.dynamodb_direct", "storage.calls"},
    **{
        part: PURE | {"storage"}
        for part in ("storage.files", "storage.metrics", "storage.calls", "storage.worker")
    },
    "storage.opened": {"storage"} | ENGINES,
    "access.tokens": PURE,
    "access.revocations": PURE,
    "access.passwords": PURE,
    "access.options": PURE | {"access.passwords"},
    "access.gate": PURE | {"access.passwords", "access.revocations", "access.tokens"},
    "access.secret_file": PURE | {"access.tokens"},
    "access.rulebook": PURE | {"access.revocations", "storage"},
    "access.jwks": PURE | {"access.tokens", "resolver", "seldom"},
    "access.keeper": PURE
    | {"access.gate", "access.jwks", "access.revocations", "access.rulebook", "access.secret_file"}
    | {"seldom", "storage"},
    "access.opened": PURE
    | {"access.gate", "access.jwks", "access.keeper", "access.options", "access.passwords", "access.tokens"}
    | {"storage"},
    "hub.waiting": set(),
    "hub.sockets": {"hub.waiting", "soon"},
    "hub.passes": PURE | {"hub.sockets"},
    "hub.local": PURE | {"hub", "hub.passes", "hub.sockets", "hub.waiting", "seldom"},
    "hub.grip": PURE | {"hub"},
    "hub.publisher": PURE | {"resolver", "seldom", "hub.grip"},
    "hub.links": set(),
    "hub.recoveries": PURE,
    "hub.pushpin": PURE | {"hub", "hub.grip", "hub.links", "hub.publisher", "hub.recoveries"},
    "private_pushpin.guard": set(),
    "private_pushpin": {"addresses", "errors", "private_pushpin.guard", "client.http"},
    "addresses": set(),
    "health": {"addresses", "config", "errors"},
    "listening": {"addresses", "config", "errors"},
    "log.reading": PURE | {"storage"},
    "log.keys": PURE,
    "log.window": PURE | {"log.keys", "log.reading"},
    "log.view": PURE | {"storage", "seldom", "soon", "log.keys", "log.reading", "log.window"},
    "log.removal": PURE | {"storage", "log.reading", "log.view"},
    "log.pace": PURE,
    "log.drafts": PURE | {"log.view"},
    "log.room": PURE | {"storage", "log.reading", "log.view", "log.drafts", "log.pace"},
    "log.memory": {"log.room", "log.view"},
    "log.clearing": PURE | {"storage", "log.view"},
    "log.upkeep": PURE | {"storage", "log.clearing", "log.memory", "log.reading", "log.removal", "log.view"},
    "log": PURE
    | {
        "storage",
        "log.drafts",
        "log.memory",
        "log.reading",
        "log.room",
        "log.upkeep",
        "log.view",
        "log.window",
    },
    "showing": PURE,
    "presence": PURE,
    "chat": PURE | {"log", "hub", "presence", "showing"},
    "logging_setup": set(),
    "resolver": set(),
    "seldom": set(),
    "soon": set(),
    "packaged": set(),
    "process": set(),
    "large_pages": set(),
    "web.negotiation": set(),
    "web.rate": set(),
    "web.paths": set(),
    "web.shedding": set(),
    "web.credentials": PURE | {"access.gate"},
    "web.visitor": PURE | {"hub", "web.credentials"},
    **dict.fromkeys(("web.problems", "web.forms"), PURE),
    "web.plain": PURE | {"hub", "web.credentials", "web.negotiation"},
    "web.posted": PURE,
    "web.application": PURE
    | {"access.keeper", "chat", "hub", "seldom", "packaged"}
    | {
        "web.credentials",
        "web.forms",
        "web.paths",
        "web.problems",
        "web.rate",
        "web.shedding",
        "web.turns",
        "web.visitor",
    },
    "web.base": PURE
    | {
        "chat",
        "web.application",
        "web.credentials",
        "web.heads",
        "web.listener",
        "web.negotiation",
        "web.paths",
    }
    | {"web.posted", "web.problems", "web.rate", "web.shedding", "web.visitor"},
    "web.removals": PURE | {"web.rights"},
    "web.rights": PURE | {"web.base", "web.credentials", "web.problems"},
    "web.messages": PURE
    | {
        "hub",
        "web.base",
        "web.forms",
        "web.listener",
        "web.rate",
        "web.removals",
        "web.rights",
        "web.texts",
    },
    "web.signals": PURE | {"web.forms", "web.rate", "web.rights"},
    "web.session": PURE | {"access.revocations", "access.tokens", "web.forms", "web.messages", "web.pages"},
    "web.operators": PURE | {"access.revocations", "access.rulebook", "web.forms", "web.rights"},
    "web.assets": {"web.base", "web.negotiation", "web.paths"},
    "web.status": PURE | {"web.base"},
    "web.sides": set(),
    "web.texts": {"web.sides"},
    "web.rows": PURE | {"web.texts"},
    "web.pages": PURE | {"web.base", "web.credentials", "web.rights", "web.rows", "web.visitor"},
    "web": PURE
    | {"packaged", "web.application", "web.assets", "web.base", "web.messages", "web.pages", "web.status"}
    | {"web.operators", "web.removals", "web.session", "web.signals"},
    "web.targets": set(),
    "web.lingering": set(),
    "web.listener": PURE
    | {"web.heads", "web.lingering", "web.problems", "web.shedding", "web.targets", "web.visitor"},
    "web.turns": {"web.visitor"},
    "web.accepting": PURE | {"seldom", "web.listener", "web.shedding", "web.turns"},
    "web.clients": {"web.accepting", "web.listener", "web.shedding", "web.turns", "web.visitor"},
    "web.cold_rooms": PURE | {"web.accepting", "web.application", "web.plain", "web.turns"},
    "web.heads": PURE | {"web.problems"},
    "web.held": PURE | {"hub", "web.accepting", "web.cold_rooms", "web.heads", "web.plain", "web.shortcut"},
    "web.shortcut": PURE
    | {
        "web.application",
        "web.base",
        "web.accepting",
        "web.clients",
        "web.cold_rooms",
        "web.forms",
        "web.heads",
        "web.listener",
        "web.messages",
    }
    | {"web.plain", "web.posted", "web.problems", "web.rate", "web.shedding"},
    "options": {"__init__", "errors", "access.options"},
    "config": {"__init__", "errors", "access.options", "options"},
    "client.follower": PURE,
    "client.http": {"__init__"} | PURE,
    "client": {"client.follower", "client.http"} | PURE,
    "tools.terminal": PURE,
    "tools.checked": {"__init__", "client", "client.http", "tools.terminal"} | PURE,
    "tools.check_page": {"__init__", "client", "client.http", "tools.checked"} | PURE,
    "tools.check": {"__init__", "client", "client.follower", "client.http"}
    | {"tools.arguments", "tools.check_page", "tools.checked", "tools.terminal"}
    | PURE,
    "tools.talk": {"__init__", "client", "client.follower", "tools.arguments", "tools.terminal"} | PURE,
    "tools.stores": {"log", "storage", "storage.opened", "config", "tools.terminal"} | PURE,
    "tools.backup": {"storage.sqlite_backup", "tools.arguments", "tools.stores", "tools.terminal"} | PURE,
    "tools.listing": {"access.rulebook", "storage", "tools.stores", "tools.terminal"} | PURE,
    "tools.exporting": {"access.rulebook", "storage", "tools.listing", "tools.stores", "tools.terminal"}
    | PURE,
    "tools.copying": {"access.rulebook", "storage", "tools.exporting", "tools.stores", "tools.terminal"}
    | PURE,
    "tools.importing": {"storage", "tools.exporting", "tools.stores", "tools.terminal"} | PURE,
    "tools.clearing": {"log.clearing", "storage", "tools.operator", "tools.stores", "tools.terminal"} | PURE,
    "tools": {"config", "tools.terminal"} | PURE,
    "tools.table": {"config", "storage.dynamodb_table", "tools.terminal"} | PURE,
    "tools.arguments": PURE,
    "tools.operator": {"access.secret_file", "access.tokens", "client.http", "tools.arguments"} | PURE,
    "tools.tokens": {"access.passwords", "access.secret_file", "access.tokens", "config"}
    | {"tools.arguments", "tools.operator"}
    | PURE,
    "tools.revoke": {"access.revocations", "access.rulebook"}
    | {"tools.operator", "tools.stores", "tools.terminal"}
    | PURE,
    "tools.erasing": {"access.rulebook"} | {"tools.operator", "tools.stores", "tools.terminal"} | PURE,
    "tools.remove": {"tools.arguments", "tools.operator", "tools.stores", "tools.terminal"} | PURE,
    "__main__": {"errors", "large_pages", "server", "tools", "tools.terminal"},
}


@functools.cache
def modules():
    named = (
        (".".join(path.relative_to(PACKAGE).with_suffix("").parts), path) for path in PACKAGE.rglob("*.py")
    )
    return sorted((name.removesuffix(".__init__"), path) for name, path in named)


@functools.cache
def imports(name: str, path: Path) -> set[str]:
    """The modules that a file imports, ours without the package's name, others by their first part."""
    known = {module for module, _ in modules()}
    package = name.split(".") if path.name == "__init__.py" and name != "__init__" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                found.add("flychat." + (inner if inner in known else ".".join(base) or "__init__"))
    return found


def ours(name: str) -> set[str]:
    """The modules of flychat that a module imports, wherever in it."""
    found = imports(name, dict(modules())[name])
    return {module.removeprefix("flychat.") for module in found if module.startswith("flychat.")} - {name}


@pytest.mark.parametrize("name", [name for name, _ in modules() if name != "server"])
def test_a_module_imports_only_from_the_layers_below(name):
    assert ours(name) <= ALLOWED[name]


def test_no_imports_go_in_a_circle():
    graphlib.TopologicalSorter({name: ours(name) for name, _ in modules()}).prepare()


@pytest.mark.parametrize("name", NAMED_BY)
def test_what_one_place_chooses_nobody_else_knows(name):
    assert {module for module, _ in modules() if name in ours(module)} <= NAMED_BY[name]


def test_the_server_is_without_the_client_and_the_tools():
    """All that it imports, at any depth. Only a private Pushpin is asked by the client's HTTP whether it works."""
    reached, ahead = set(), {"server"}
    while ahead:
        reached |= ahead
        ahead = set().union(*map(ours, ahead - {"private_pushpin"})) - reached
    assert "storage.dynamodb_table" in reached, "what is imported inside of functions counts"
    assert not {name for name in reached if name.startswith(("client", "tools", "health", "__main__"))}


@pytest.mark.parametrize("name", [name for name, _ in modules() if name.startswith("tools.")])
def test_a_tool_is_a_client_or_works_on_the_store(name):
    beyond = {each for each in ours(name) - PURE - {"__init__"} if not each.startswith("tools")}
    assert beyond <= CLIENT | ACCESS or beyond <= STORE | ACCESS


def test_no_file_is_too_long():
    files = [path for _, path in modules()]
    files += [path for kind in ("*.js", "*.css") for path in (PACKAGE.parent / "static").glob(kind)]
    assert {path.name for path in files if len(path.read_text().splitlines()) > LINES} == set()


@pytest.mark.parametrize("technology", TECHNOLOGY)
def test_a_technology_is_known_in_its_own_place_only(technology):
    users = {name for name, path in modules() if technology in imports(name, path)}
    assert users <= TECHNOLOGY[technology]


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_core_is_pure(name):
    """The standard library only; no coroutine, no clock, no chance."""
    path = dict(modules())[name]
    source = path.read_text()
    found = {module for module in imports(name, path) if not module.startswith("flychat.")}
    assert found <= {"__future__", "collections", "dataclasses", "datetime", "functools", "json", "re"} | {
        "base64",
        "hashlib",
        "typing",
        "unicodedata",
        "urllib",
        "secrets",
    }
    assert not any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse(source)))
    assert "now()" not in source


@pytest.mark.parametrize("folder", ["static", "tests/unit/page"])
def test_no_script_has_more_lines_than_can_be_read_in_one_sitting(folder):
    scripts = [path for path in (PACKAGE.parent / folder).iterdir() if path.suffix in (".css", ".js", ".mjs")]
    assert scripts
    lines = {path.name: len(path.read_text().splitlines()) for path in scripts}
    assert {name: number for name, number in lines.items() if number > 300} == {}


def test_no_file_of_the_tests_imports_a_test_file():
    """What two of them need is in tests/support/, tests/proof/ or tests/conftest.py, so any of them can be moved."""
    tests = PACKAGE.parent / "tests"
    found = {
        f"{path.relative_to(tests)} imports {name}"
        for path in tests.rglob("*.py")
        for name in imported(path)
        if any(part.startswith("test_") for part in name.split("."))
    }
    assert found == set()


def imported(path: Path) -> set[str]:
    """All that a file imports, as it is written there: modules and, where it may be one, what is taken from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return names
