"""What a stream is: a request for one, the plan that answers it, and the publications that go on.

The one rule that keeps every stream whole: *a publication with an id goes to the holds whose position
equals its prev-id; a hold that is behind is given a new plan; what a hold has is not sent again.*
So a plan is right when its official events are contiguous, begin right after the position that was
asked for (or after a reset), and end exactly at the prev-id of its channel: `plan_stream` is written to
make that visible. Both the events and the prev-id come from one Page, that is from one reading of the log.

A position beyond the log means that the client knows another log (a wiped database): `ahead`. A position
that is more than REPLAY behind, or before the oldest message that is kept: `behind`. Both get a
`stream-reset` and the newest messages: a client that drops what it shows and reads on is right again. The id
of the reset is the one before the first message that follows: a client that is cut off between the two comes
back with that id, and is sent those messages.

Nothing in a plan depends on who asked, because a GRIP proxy shares one answer among many clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import NamedTuple
from urllib.parse import quote

from .commits import Commit
from .messages import Draft, Message
from .sse import Event, block, read_position, to_json
from .values import kept, value

HISTORY = 50  # messages that open a stream, or follow a reset
REPLAY = 1000  # messages that a resumed stream is given at the most
REPLAY_BYTES = 1 << 20  # of their blocks, or of those that open a stream
RETRY = 2000  # milliseconds before a browser reconnects
RECOVERY_PATH = "/recover/"  # where a GRIP proxy asks for what its holds have missed, in any room
OFFICIAL_PATH = "/recover/official"  # the same, without provisional events: a proxy sends no query
OFFICIAL = "messages"  # the names of official channels begin so, with a dash

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "Vary": "Accept",
}
OPENING: tuple[Event, ...] = (Event("stream-open", "{}", retry=RETRY),)
KEEP_ALIVE = Event("keep-alive", "{}")
KEEP_ALIVE_SECONDS = 20


@value
class StreamRequest:
    """A client, or its proxy (`recover`), asks for what follows `last_id` in `room`.

    Without `provisional` its stream has no provisional messages, retractions and signals.
    """

    room: str
    last_id: int | None = None
    recover: bool = False
    provisional: bool = True


@value
class StreamPlan:
    """How `request` is answered: send `opening`, then `messages`, and subscribe; at a gap ask `recovery`.

    `official` is the channel of publications with an id, whose prev-ids are checked against `position`;
    `others` are the channels of those without.
    """

    request: StreamRequest
    opening: tuple[Event, ...]
    messages: tuple[Message, ...]
    position: int  # the id after which the stream goes on
    _parts: tuple[bytes, ...] = field(default=(), init=False, repr=False, compare=False)
    _size: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def official(self) -> str:
        return official_channel(self.request.room)

    @property
    def others(self) -> tuple[str, ...]:
        return (live_channel(self.request.room),) if self.request.provisional else ()

    @property
    def recovery(self) -> StreamRequest:
        """The request that recovers this stream, once its `last_id` is set."""
        return replace(self.request, last_id=None, recover=True)

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The blocks to send, in order. Those of the messages are the messages' own, not copies."""
        if not self._parts:
            blocks = [event.encode() for event in self.opening] + [message.block for message in self.messages]
            kept(self, "_parts", tuple(blocks))
        return self._parts

    @property
    def size(self) -> int:
        """The bytes of the parts."""
        return self._size or kept(self, "_size", sum(map(len, self.parts)))

    def body(self) -> bytes:
        return b"".join(self.parts)


class Publication(NamedTuple):
    """Event blocks for a room's channel; with an id they are official, and follow those up to `prev_id`."""

    room: str
    content: bytes
    id: int | None = None
    prev_id: int | None = None

    @property
    def channel(self) -> str:
        return live_channel(self.room) if self.id is None else official_channel(self.room)


@value
class Page:
    """One reading of a room's log: contiguous messages, and the last id of the log (0: empty).

    The messages end with the last of the log, except on a page of the past. Such a page may be cut short by
    its bytes: `more` is then the id with which to ask for the next. `stored`: the store was read for it.
    """

    messages: tuple[Message, ...]
    last_id: int
    more: int | None = None
    stored: bool = field(default=False, compare=False)


def official_channel(room: str) -> str:
    """The channel of a room's messages, in the order of their ids."""
    return f"{OFFICIAL}-{quote(room, safe='')}"


def live_channel(room: str) -> str:
    """The channel of what has no id and is not replayed: provisional messages and their retractions."""
    return f"provisional-{quote(room, safe='')}"


def read_request(
    room: str, headers: Mapping[str, str], query: Iterable[str], *, provisional: bool = True
) -> StreamRequest:
    """A client's own request: `Last-Event-ID`, else the last non-empty `lastEventId` of the query."""
    last_id = read_position(headers.get("Last-Event-ID"))
    if last_id is None:
        last_id = read_position(next((value for value in reversed(list(query)) if value), None))
    return StreamRequest(room, last_id, provisional=provisional)


def plan_stream(request: StreamRequest, page: Page) -> StreamPlan:
    """The plan for `request`, given one reading of the log.

    `page` holds the messages after the request's position if the log can still replay them,
    else its newest HISTORY.
    """
    opening = () if request.recover else OPENING
    position = request.last_id
    messages = None if position is None else replay(page, position)
    if messages is None:
        messages = newest(page.messages)
        if position is not None:
            reason = "ahead" if position > page.last_id else "behind"
            opening += (_reset(reason, page.last_id, messages[0].id - 1 if messages else 0),)
    return StreamPlan(request, opening, messages, page.last_id)


def replay(page: Page, position: int) -> tuple[Message, ...] | None:
    """All that follows `position`; None if the log ends before it, or has too much or no longer all of it."""
    missing = page.last_id - position
    if not 0 <= missing <= min(REPLAY, len(page.messages)):
        return None
    missed = page.messages[len(page.messages) - missing :]
    return missed if size(missed) <= REPLAY_BYTES else None


def newest(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The newest HISTORY of the messages, of REPLAY_BYTES at the most."""
    messages = messages[-HISTORY:]
    return messages[len(messages) - fitting(reversed(messages), REPLAY_BYTES) :]


def fitting(messages: Iterable[Message], most: int) -> int:
    """How many of the first messages have `most` bytes on a stream: one at least, if there is one."""
    number, left = 0, most
    for message in messages:
        left -= len(message.block)
        if left < 0 and number:
            break
        number += 1
    return number


def size(messages: Iterable[Message]) -> int:
    """The bytes of the messages on a stream."""
    return sum(len(message.block) for message in messages)


def provisional(draft: Draft, *, retracted: bool = False) -> Publication:
    """The draft, shown before it is stored, or the news that it was not: out of sequence, no id.

    A retraction says whose message is meant, where there is a user: otherwise anybody could have
    somebody else's message withdrawn, by posting one under its provisional id that cannot be stored.
    """
    if retracted:
        whose = {} if draft.user is None else {"user": draft.user}
        content = block("retraction", to_json({"provisionalId": draft.provisional_id, **whose}))
    else:
        content = block("message", draft.wire)
    return Publication(draft.room, content)


def committed(commit: Commit) -> Publication:
    """One commit is one publication: id of its last message, prev-id of the one before its first.

    That of a void one, which clears the room, is the reset that a recovery would give.
    """
    content = b"".join(message.block for message in commit.messages)
    if not commit.messages:
        content = _reset("behind", commit.last, 0).encode()
    return Publication(commit.room, content, commit.last, commit.first - 1)


def stream_end(reason: str) -> Event:
    """The last words of a stream whose right has ended: `expired`, `revoked` or `private`."""
    return Event("stream-end", to_json({"reason": reason}))


def answer_head(headers: Iterable[tuple[str, str]], *, chunked: bool) -> bytes:
    """The head of an answer in chunks, as HTTP/1.1 has them; or of one that ends with its connection."""
    framing = "Transfer-Encoding: chunked" if chunked else "Connection: close"
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers), framing]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _reset(reason: str, last_id: int, position: int) -> Event:
    return Event("stream-reset", to_json({"reason": reason, "lastEventId": last_id}), id=position)
