"""`python -m flychat`: the server, or a command of the terminal; neither imports the other.

As process 1 of a container a program gets only the signals that it has asked for. So SIGTERM is asked for
here, before anything that takes time, and ends the process as it ends any other; a server that has started
drains instead.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; 2: it cannot be started like this, and one line on stderr says why."""
    signal.signal(signal.SIGTERM, end)
    is_the_program = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    from . import large_pages, tools
    from .errors import Misconfigured
    from .tools import terminal

    terminal.prepare_output()
    try:
        if command := tools.asked_for(arguments, os.environ):
            return tools.main(command)
        if is_the_program:
            large_pages.ask()
        signal.signal(signal.SIGINT, end)  # until it serves; the commands see to it themselves
        gc.disable()  # until it serves: what is made until then stays; looking at it is a tenth of the start
        from . import server

        return server.main(arguments)
    except Misconfigured as error:
        print(f"flychat: {error}", file=sys.stderr)
        return 2


def end(number: int, frame: FrameType | None) -> None:
    """Ends this process as by the signal; in process 1, which no signal ends, with the status of that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
