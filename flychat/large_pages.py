"""Memory in pages of 2 MB, on Linux: a busy server spends much of its time on looking up pages of 4 kB.

A chat reads and writes all over its memory, and a processor remembers the places of only some 2,000 pages
(TLB). Many kernels give large pages only to programs that ask for them ("madvise" in
https://docs.kernel.org/admin-guide/mm/transhuge.html). From version 2.35 on glibc's malloc asks, if a
variable said so when the program began (`glibc.malloc.hugetlb`, one of the tunables in
https://sourceware.org/glibc/manual/). Python's own allocator takes 1 MB at a time, and gets none.

So a server starts itself once more, under the same process id, with that variable, and with malloc in place
of Python's allocator. That takes 0.07 s and 2 MB. Measured: a sixth less CPU after a minute of full load, up
to a third less on a host that is busy with other things, no difference for a small chat on a quiet host.

Nothing is done if the kernel gives large pages to all programs or to none, or if the user has chosen how
memory is allocated, for example by PYTHONMALLOC=pymalloc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

GIVEN = Path("/sys/kernel/mm/transparent_hugepage/enabled")
VARIABLES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
GLIBC = (2, 35)


def ask(given: Path = GIVEN) -> None:
    """Starts this process again if that gets it large pages. To be called when it handles SIGTERM already."""
    if are_to_be_had(os.environ, given):
        # So the kernel keeps a SIGTERM that comes meanwhile: as process 1 we would never get it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        with contextlib.suppress(OSError):  # where it must not, it goes on without
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **VARIABLES})
    if all(os.environ.get(name) == value for name, value in VARIABLES.items()):
        for name in VARIABLES:  # they are not meant for the programs that we start
            del os.environ[name]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def are_to_be_had(environ: Mapping[str, str], given: Path) -> bool:
    """Whether a process with this environment would get some if it began again; `given` is like GIVEN."""
    if any(name in environ for name in VARIABLES) or sys.flags.ignore_environment or not sys.executable:
        return False
    if "t" in sys.abiflags:  # free threads come with an allocator of their own
        return False
    try:
        if "[madvise]" not in given.read_text():
            return False
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return library == "glibc" and tuple(map(int, version.split("."))) >= GLIBC
    except (OSError, ValueError):  # not Linux, or another library
        return False
