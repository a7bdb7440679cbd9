"""A conforming parser of event streams, written from the standard (WHATWG HTML, 9.2.6), not from flychat."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Parsed:
    """A dispatched event: its type, data, and the last event id as it was then."""

    type: str
    data: str
    last_id: str


def parse(stream: bytes) -> list[Parsed]:
    """The events that a browser would dispatch."""
    events, data, kind, last_id = [], [], "", ""
    text = stream.decode("utf-8").removeprefix("\ufeff")
    complete = re.split(r"\r\n|\n|\r", text)[:-1]  # what follows the last line end is not a line yet
    for line in complete:
        if not line:
            if data:
                events.append(Parsed(kind or "message", "\n".join(data), last_id))
            data, kind = [], ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events
