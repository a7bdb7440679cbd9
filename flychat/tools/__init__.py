"""What the terminal has besides the server: the table of commands, and what is the same for each of them.

Exit status: 0, done, and all is well; 1, there is a problem, or it was interrupted, or nobody reads it any
more; 2, it was asked for in a wrong way. Why is said on stderr. What is printed, and how: terminal.py.

A command is a function that gives a parser its options, and returns what runs it.
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
    "export": ("rooms", "export_command"),
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
    """The command that is asked for, with what is given to it; () for the server. Raises Misconfigured."""
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
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:  # `tail URL/ROOM | head`
        return 1
    except (FlychatError, OSError) as error:
        print(told(f"flychat: {str(error) or type(error).__name__}"), file=sys.stderr)
        return 2 if isinstance(error, Misconfigured) else 1
    finally:
        abandon_output()


def read(arguments: Sequence[str]) -> tuple[argparse.Namespace, Callable[[argparse.Namespace], int]]:
    """What was given to the command that `arguments` begin with, and what runs it."""
    name, *rest = arguments
    module, function = COMMANDS[name]
    parser = _Parser(prog=f"python -m flychat {name}", allow_abbrev=False)
    run = getattr(importlib.import_module(f".{module}", __name__), function)(parser)
    return parser.parse_intermixed_args(rest), run  # options may stand before, between and after


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(told(message))
