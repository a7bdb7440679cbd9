"""Which rooms are in memory: as many as fit into a bound in bytes; those that are in use leave last.

A room is in use while streams are held in it, and for two minutes after somebody has written there. To drop
the keys of such a room is expensive: before its next message those of two minutes would have to be read
again, which on a busy server takes as long as storing fifty messages. To drop its messages is cheap: few
clients ask for them, and then for the newest.

The rooms stand in four queues, each in the order of their last use. While there are too many bytes, the least
recently used room of the first queue that is not empty gives way. If it is not in use, it leaves; else

    free      no streams are held in it: its window is shortened, and it goes to the end of `shallow`
    deep      streams are held: the same
    shallow   nobody has used it since: its window is emptied, but for the keys; it goes to the end of `bare`
    bare      nobody has used it since: it leaves

A room in `free` also leaves when nobody has used it for IDLE seconds. A room that has left is read again when
it is needed: that costs time, and no message. A room that is being written, or searched, stays: it must not
exist twice. The number of rooms has no bound of its own: one without messages counts as ROOM_BYTES.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from .room import Room
from .view import FIRST, View

IDLE = 600.0  # seconds until an unused room leaves memory
ROOM_BYTES = 2600  # that a room takes beside its messages, keys and plans: 1,600 rooms took 4.15 MB
BUSY = 8  # rooms in a row that may be passed over because they are busy


class Rooms(dict[str, Room]):
    """The rooms in memory, by their names; `make` makes a new one. `bytes` is what they take, about."""

    def __init__(self, make: Callable[[str], Room], most_bytes: int) -> None:
        super().__init__()
        self.bytes = 0
        self._loop = asyncio.get_running_loop()
        self._make, self._most = make, most_bytes
        self._held: set[str] = set()  # the rooms with held streams, whether or not they are in memory
        self._free: OrderedDict[str, Room] = OrderedDict()
        self._deep: OrderedDict[str, Room] = OrderedDict()
        self._shallow: OrderedDict[str, Room] = OrderedDict()
        self._bare: OrderedDict[str, Room] = OrderedDict()
        self._queues = (self._free, self._deep, self._shallow, self._bare)

    def use(self, name: str) -> Room:
        """The room, marked as used; others may have to leave."""
        room = self.get(name)
        if room is None:
            room = self[name] = self._make(name)
            self._count(room)
        room.used = self._loop.time()
        self._line_up(room)
        self._let_leave(room)
        return room

    def weigh(self, view: View) -> None:
        """Counts the bytes of a room again, which may have changed; others may have to leave."""
        room = self.get(view.name)
        if room is not None and room is view:
            self._count(room)
            if self.bytes > self._most:
                self.use(room.name)

    def note_held(self, name: str, held: bool) -> None:
        """Takes note that streams are held in the room from now on, or are no longer."""
        if held:
            self._held.add(name)
        else:
            self._held.discard(name)
        if (room := self.get(name)) is not None:
            self._line_up(room)

    def _line_up(self, room: Room) -> None:
        """Puts the room at the end of its queue."""
        queue = self._deep if room.name in self._held else self._free
        if room.name not in queue:
            self._leave_queues(room.name)
            queue[room.name] = room
        else:
            queue.move_to_end(room.name)

    def _leave_queues(self, name: str) -> None:
        for queue in self._queues:
            queue.pop(name, None)

    def _let_leave(self, staying: Room) -> None:
        """Has rooms give way, but not `staying`, which has just been used."""
        while (oldest := next(iter(self._free.values()), staying)) is not staying and not oldest.busy:
            if staying.used - oldest.used <= IDLE:
                break
            self._leave(oldest)
        if self.bytes > self._most:
            shorten = partial(self._shorten, FIRST, self._shallow)
            self._give_way(self._free, staying, shorten)
            self._give_way(self._deep, staying, shorten)
            self._give_way(self._shallow, staying, partial(self._shorten, 0, self._bare))
            self._give_way(self._bare, staying, self._leave)

    def _give_way(self, queue: OrderedDict[str, Room], staying: Room, how: Callable[[Room], None]) -> None:
        busy = 0
        while self.bytes > self._most and busy < BUSY:
            oldest = next(iter(queue.values()), staying)
            if oldest is staying:
                break
            if oldest.busy:
                queue.move_to_end(oldest.name)
                busy += 1
            elif oldest.name in self._held or oldest.is_written:
                how(oldest)
            else:
                self._leave(oldest)

    def _leave(self, room: Room) -> None:
        self.bytes -= room.bytes
        self._leave_queues(room.name)
        del self[room.name]

    def _shorten(self, most: int, queue: OrderedDict[str, Room], room: Room) -> None:
        self._leave_queues(room.name)
        queue[room.name] = room
        room.shorten(most)
        self._count(room)

    def _count(self, room: Room) -> None:
        now = ROOM_BYTES + (room.window.bytes if room.window is not None else 0)
        self.bytes += now - room.bytes
        room.bytes = now
