"""`python -m flychat`: the server, or a command of the terminal; neither imports the other."""

import sys
from collections.abc import Sequence

COMMANDS = ("check", "tail", "say")
MAINTENANCE = ("export", "clear")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in MAINTENANCE:
        from . import maintenance

        return maintenance.main(arguments)
    if arguments and arguments[0] in COMMANDS:
        from . import commands

        return commands.main(arguments)
    from . import server

    return server.main(list(arguments))


if __name__ == "__main__":
    sys.exit(main())
