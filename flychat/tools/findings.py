"""What `check` finds, told in plain words."""

from __future__ import annotations

from .terminal import told


class Findings:
    """Prints what is found, line by line; `bad` counts the problems."""

    bad = 0

    def good(self, text: str) -> None:
        print(f"  ok    {told(text)}", flush=True)

    def problem(self, text: str) -> None:
        self.bad += 1
        print(f"  BAD   {told(text)}", flush=True)

    def that(self, right: bool, good: str, otherwise: str) -> None:
        self.good(good) if right else self.problem(otherwise)


def reason(error: Exception) -> str:
    nothing = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return str(error) or nothing
