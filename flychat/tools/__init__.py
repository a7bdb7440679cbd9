"""The commands of the terminal besides the server: their table, and what is the same for all of them.

Exit status: 0, it is done, and all is well; 1, there is a problem, it was interrupted, or its output is read
no more; 2, its arguments are wrong. stderr says why. How commands print: terminal.py.

Each command is a function that adds its options to a parser, and returns the function that runs it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from ..config import table_asked_for
from ..errors import FlychatError, Misconfigured
from .terminal import abandon_output, prepare_log, told

COMMANDS = {  # by name: the module, of which only that of the command asked for is imported, and the function
    "check": ("check", "check_command"),
    "tail": ("talk", "tail_command"),
    "say": ("talk", "say_command"),
    "rooms": ("listing", "rooms_command"),
    "export": ("exporting", "export_command"),
    "copy": ("copying", "copy_command"),
    "import": ("importing", "import_command"),
    "backup": ("backup", "backup_command"),
    "clear": ("clearing", "clear_command"),
    "remove": ("remove", "remove_command"),
    "erase": ("erasing", "erase_command"),
    "token": ("tokens", "token_command"),
    "password": ("tokens", "password_command"),
    "revoke": ("revoke", "revoke_command"),
    "create-table": ("table", "create_table_command"),
}


def asked_for(arguments: Sequence[str], environ: Mapping[str, str]) -> Sequence[str]:
    """The command and its arguments, if these ask for one; () for the server. Raises Misconfigured."""
    if arguments and arguments[0] in COMMANDS:
        return arguments
    store = table_asked_for(arguments, environ)
    return () if store is None else ("create-table", f"--store={store}")


def main(arguments: Sequence[str]) -> int:
    """Runs the command that `arguments` begin with; returns the exit status (argparse exits with 2)."""
    prepare_log()
    try:
        given, run = read(arguments)
        return run(given)
    except (KeyboardInterrupt, BrokenPipeError):  # Ctrl-C; or `tail URL/ROOM | head`
        return 1
    except (FlychatError, OSError) as error:
        print(told(f"flychat: {str(error) or type(error).__name__}"), file=sys.stderr)
        return 2 if isinstance(error, Misconfigured) else 1
    finally:
        abandon_output()


def read(arguments: Sequence[str]) -> tuple[argparse.Namespace, Callable[[argparse.Namespace], int]]:
    """The parsed arguments of the command that `arguments` begin with, and the function that runs it."""
    name, *rest = arguments
    module, function = COMMANDS[name]
    parser = _Parser(prog=f"python -m flychat {name}", allow_abbrev=False)
    run = getattr(importlib.import_module(f".{module}", __name__), function)(parser)
    return parser.parse_intermixed_args(rest), run  # options may stand before, between and after


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(told(message))
