"""For what comes over the network: a registry that does not answer just then is asked again, a while later."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

PAUSES = (5, 20, 60) if os.environ.get("CI") == "true" else ()  # seconds; who is offline is not to wait


def patiently(command: Sequence[str], **options: Any) -> None:
    """Runs it, with the options of subprocess.run. Raises the SubprocessError of its last try."""
    for pause in PAUSES:
        try:
            subprocess.run(command, check=True, **options)
            return
        except subprocess.SubprocessError as error:
            print(f"{error}: once more in {pause} s", flush=True)
        time.sleep(pause)
    subprocess.run(command, check=True, **options)
