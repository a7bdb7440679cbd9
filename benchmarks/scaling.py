# ruff: noqa: E501, RUF005 - the lines of a document, and tables in two lines
"""How far it goes, on paper: writes docs/scaling.md from the figures below, which the benchmarks measured.

python -m benchmarks.scaling [--out docs/scaling.md]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from . import harness
from .options import options

# One core of the machine in docs/benchmarks.md, from the table that each names.
DELIVERY_US = 8.05  # CPU per delivered event, one message in flight, 10,000 clients: "Fan-out"
BURST_US = 1.99  # the same, 50 messages a second to 10,000 clients: "More than a pass can carry"
CONNECT_US = 58.0  # CPU per connection, with up to 50 messages replayed: "Reconnect storm"
CONNECTION_BYTES = 556  # anonymous memory per idle connection, at 10,000: "Fan-out"
ROOM_POST_US = 130.0  # CPU per POST, with its deliveries to 5 listeners in 1,000 rooms: "The ordinary chat"
POST_US = 80.0  # CPU per POST, many of them in one room, published to one proxy: "Ingest", GRIP, 256 senders
LONE_POST_US = 470.0  # CPU per POST that is a put of its own: "Ingest", 7 ms away, 100 rooms, 16 senders
# Not measured by themselves.
KERNEL_BYTES = 4_000  # what the kernel keeps for an idle connection, roughly
ITEM_US = 20.0  # CPU per item that is published to a further proxy, in batches, roughly
FILES = 20_000  # connections per process where the file limit is that; the default of systemd is 524,288
HEADROOM = 0.5  # share of a core that is planned for

# A Pushpin (C++, one machine): held streams and deliveries a second, as its own documentation and our tests suggest.
PUSHPIN_STREAMS = 50_000
PUSHPIN_DELIVERIES = 50_000
PUSHPIN_RECOVERIES = 1_000  # a second: it asks the app for no more than that

# DynamoDB: documented limits of one partition (here: of one room).
PARTITION_WRITES = 1_000  # units (1 KB begun) a second
PARTITION_READS = 3_000  # units (4 KB begun, consistent) a second
MESSAGE_BYTES = 132  # one message of 55 characters, as stored: that of "Ingest"
FIRST_PAGE, NEAR_PAGE = 8, 20  # commits that the first Query of a reading looks at: dynamodb_reads.py
BATCH = 64
KEEP_ALIVE = 20  # seconds


GROUP = 4  # proxies that serve a range of rooms


@dataclass(frozen=True)
class Audience:
    """`listeners` in `rooms`; each room has `rate` events a second, provisional ones included."""

    name: str
    listeners: int
    rooms: int
    rate: float

    @property
    def deliveries(self) -> float:
        return self.listeners * (self.rate + 1 / KEEP_ALIVE)

    @property
    def standalone(self) -> str:
        """The share of one process, which is all that there is; or why it is not enough."""
        cores = self.deliveries * DELIVERY_US / 1e6
        if cores > 1:
            return f"no: {cores:,.1f} cores"
        files = f", {self.listeners:,} open files" if self.listeners > FILES else ""
        return f"{cores:.0%} of a core{files}{', more than planned' if cores > HEADROOM else ''}"

    @property
    def proxies(self) -> int:
        by_streams = math.ceil(self.listeners / PUSHPIN_STREAMS)
        return max(by_streams, math.ceil(self.deliveries / PUSHPIN_DELIVERIES / HEADROOM))

    @property
    def items(self) -> tuple[float, float]:
        """Items a second to all proxies: if each is sent everything, and if only a group is."""
        return self.rooms * self.rate * self.proxies, self.rooms * self.rate * min(GROUP, self.proxies)

    @property
    def apps(self) -> int:
        """Processes: a POST makes two events, and the proxies' recoveries after a cut are answered."""
        posting = self.rooms * self.rate / 2 * (LONE_POST_US if self.rooms > 1 else POST_US)
        publishing = self.items[self.rooms > 1] * ITEM_US
        return math.ceil((posting + publishing) / 1e6 / HEADROOM)

    @property
    def storm_seconds(self) -> float:
        """Until all have come back to the proxies, at the rate at which a proxy recovers."""
        return self.listeners / self.proxies / PUSHPIN_RECOVERIES


AUDIENCES = (
    Audience("one room of 1,000, 2 events/s", 1_000, 1, 2),
    Audience("one room of 10,000, 2 events/s", 10_000, 1, 2),
    Audience("one room of 10,000, 10 events/s", 10_000, 1, 10),
    Audience("one room of 100,000, 1 event/s", 100_000, 1, 1),
    Audience("one room of 100,000, 10 events/s", 100_000, 1, 10),
    Audience("1,000,000 in rooms of 50, 0.1 events/s each", 1_000_000, 20_000, 0.1),
    Audience("1,000,000 in rooms of 50, 1 event/s each", 1_000_000, 20_000, 1),
)


def units(messages: int) -> int:
    """Write units of one commit."""
    return math.ceil(messages * MESSAGE_BYTES / 1024)


def read_units(*pages: int) -> int:
    """Read units of Queries that look at so many messages."""
    return sum(math.ceil(messages * MESSAGE_BYTES / 4096) for messages in pages)


def document() -> str:
    opening = read_units(FIRST_PAGE, 50 - FIRST_PAGE)
    per_process = min(FILES, math.floor(HEADROOM * 1e6 / DELIVERY_US / (1 + 1 / KEEP_ALIVE)))
    most_messages = PARTITION_WRITES / units(BATCH) * BATCH
    one = harness.table(
        ["one process, half a core of it planned for", "carries", "the limit is"],
        [
            [
                "listeners, 1 event/s each",
                f"{per_process:,}",
                f"{FILES:,} open files (raise the limit), then CPU",
            ],
            [
                "deliveries/s, one message in flight",
                f"{HEADROOM * 1e6 / DELIVERY_US:,.0f}",
                "CPU, nine tenths the kernel's",
            ],
            ["deliveries/s, in bursts", f"{HEADROOM * 1e6 / BURST_US:,.0f}", "CPU; the network: 150 B each"],
            ["returns/s after a cut", f"{HEADROOM * 1e6 / CONNECT_US:,.0f}", "CPU"],
            [
                "POSTs/s, in small rooms (standalone)",
                f"{HEADROOM * 1e6 / ROOM_POST_US:,.0f}",
                "CPU, a third the kernel's",
            ],
            [
                "POSTs/s, many in one room (GRIP)",
                f"{HEADROOM * 1e6 / POST_US:,.0f}",
                "CPU: reading, storing, answering",
            ],
            [
                "POSTs/s, each alone in its room (DynamoDB)",
                f"{HEADROOM * 1e6 / LONE_POST_US:,.0f}",
                "CPU: a put each, by botocore",
            ],
            [
                "memory of 10,000 idle listeners",
                f"{10_000 * (CONNECTION_BYTES + KERNEL_BYTES) / 1e6:,.0f} MB",
                "memory, nine tenths of it the kernel's",
            ],
        ],
    )
    store = harness.table(
        ["one DynamoDB partition (= one room)", "units", "carries"],
        [
            [
                "messages one by one",
                units(1),
                f"{PARTITION_WRITES / units(1):,.0f} puts/s; in fact 1 / round trip",
            ],
            [f"in commits of {BATCH}", f"{units(BATCH)} a commit", f"{most_messages:,.0f} messages/s"],
            ["write units per message", f"{units(1)} to {units(BATCH) / BATCH:.2f}", "alone to 64 waiting"],
            [
                "opening a stream (50 messages)",
                opening,
                "two Queries, shared by all who ask at once",
            ],
            [
                "coming back, a few messages behind",
                read_units(NEAR_PAGE),
                "one Query, shared as well",
            ],
            [
                "coming back, 100 behind",
                read_units(NEAR_PAGE, 101 - NEAR_PAGE),
                "two Queries: what is missing and no more",
            ],
            ["streams opened/s that do not coincide", opening, f"{PARTITION_READS / opening:,.0f}/s"],
        ],
    )
    audiences = harness.table(
        ["audience", "deliveries/s", "standalone", "Pushpins", "items/s to all", f"to groups of {GROUP}"]
        + ["app processes", "storm: s"],
        [
            [a.name, int(a.deliveries), a.standalone, a.proxies, int(a.items[0]), int(a.items[1])]
            + [a.apps, a.storm_seconds]
            for a in AUDIENCES
        ],
    )
    return TEXT.format(
        one=one,
        store=store,
        audiences=audiences,
        delivery=DELIVERY_US,
        burst=BURST_US,
        core=int(1e6 / BURST_US / 10_000) * 10_000,
        headroom=HEADROOM,
        streams=PUSHPIN_STREAMS,
        deliveries=PUSHPIN_DELIVERIES,
        recoveries=PUSHPIN_RECOVERIES,
        keep_alive=KEEP_ALIVE,
        batch=BATCH,
        batch_units=units(BATCH) / BATCH,
        most=most_messages,
    )


TEXT = """# How far it goes

Written by `python -m benchmarks.scaling` from the figures at its top: for flychat those of
[benchmarks.md](benchmarks.md), but for two that it has not measured (the kernel's memory and the publishing of an item,
there called rough); for DynamoDB documented limits; for Pushpin a cautious guess. Put your own machine's in, and run it
again. Units and requests only: multiply them with your provider's prices.

## One of each

{one}

{store}

A Pushpin is taken to hold {streams:,} streams and to make {deliveries:,} deliveries/s (measure yours); it recovers
{recoveries:,} clients a second, so after a cut of everything the last one waits for held streams / {recoveries:,}
seconds, while those who are back are served.

## The formula

For `L` listeners in rooms with `r` events/s each (a message is two events: provisional and official; in GRIP mode
one, if the store answers within 3 ms), and a keep-alive every {keep_alive} s:

    deliveries/s  d = L * (r + 1/{keep_alive})
    standalone      = d * {delivery} us of one core (events that come together: down to {burst}), one file per listener
    proxies       p = max(L / {streams:,},  d / ({deliveries:,} * {headroom}))
    items/s       i = rooms * r * (p, or the size of a group);  POSTs to proxies/s >= i / 100, one in flight for each
    app CPU         = rooms * r / 2 * POST + i * item                + recoveries: up to 100 a second for each proxy
    write units/s   = rooms * r / 2 * (1 alone ... {batch_units:.2f} with {batch} waiting)

{audiences}

## What saturates first

- **Standalone**: deliveries. The table counts each event as if it came alone. Events that come faster than a pass
  share a send: at 10,000 clients the cost of each falls from {delivery} to {burst} us, so beyond the plan messages are
  later, by a pass or two, and none is lost. A core is full at {core:,} deliveries/s. One process is one core: beyond
  it, take GRIP.
- **A room on many proxies** (GRIP): nothing of it grows with the listeners but the number of proxies. A
  publication is one item for each, and up to 100 of them share a POST.
- **A room's writes**: one partition gives 1,000 units/s, which is {most:,.0f} messages/s in commits of {batch}, more
  than anybody reads. One after the other, the round trip is the limit, and group commit the way around it: over a
  store 7 ms away one sender gets 103 messages/s into a room, 256 senders 4,575.
- **A table**: a room is a partition key of its own, so rooms spread over partitions by themselves.

## When more comes than can be done

Streams and messages are served in the order in which they came; new connections, pages and all other requests a few at a
time, for each address in turn, so that a client that asks for much delays only clients of its own address.

A request that has waited for half a second is refused, unread, with 503 `overloaded` and `Retry-After: 3`; so everything is
quick again within a second after the rush. A server does so only if it has been behind for a quarter of a second: a single
pause is no overload. What is refused, in this order:

1. Requests whose clients have given up by then: they are dropped without an answer. A message that is still waiting for the
   store when its client goes is not stored either, and is retracted if it was shown.
2. Messages, which cost most, and are safe to send again: with their `provisionalId` nothing is stored twice.
3. Pages and JSON, after the same time. The first request of a new connection counts as a sign of overload only after three
   quarters of a second, since it may have waited to be let in.
4. Streams never: their clients come back at once, so a refusal saves nothing. `--max-streams` bounds how many there are.

A refusal costs a sixth of a message. So a client that comes again at once, in spite of `Retry-After`, is not looked at until
these seconds are nearly over, and is refused again as long as there is too much to do. As many clients are let back as can all be
served within 0.4 s. Otherwise they would come in waves, and wave after wave would be late.
`flychat_shed_total` counts, and `.venv/bin/python -m benchmarks.overload` measures it.

## A restart

All clients come back at once to a server that has no room in memory. Of each room only the messages from its clients'
positions on are read, once or twice for all of them: only as many readings go on at once as keep the store busy (8 of a
file, 32 of DynamoDB), and clients that come while a reading waits share it. What a message for such a room needs is
read at once, so writing does not wait for reading. Every client that was let in is served, however long the queue; only if a
reading has waited for 15 s are further ones refused, with 503. If the store does not answer, one time-out is enough for all
readings that wait. `benchmarks.restart` has the figures. What is read stays in memory, within `--memory`, as long as streams
are held in the room.

## 1,000,000 listeners in many rooms

A client may be on any proxy, since every publication goes to all of them, so begin with a plain load balancer. With
many proxies most items go where nobody wants them: then give each range of rooms a group of proxies, by host name or
by a hash of the room, and app processes of its own whose `--grip-url`s name its proxies only. The table is the same
for all; nothing else is shared, so regions are groups too.

## How often a Pushpin asks again

A hold that has heard nothing is recovered when its link's time-out ends, in case a publication was lost. While it waits
for its turn it is given nothing, and a Pushpin recovers {recoveries:,} holds a second. So with
links of 18 to 26 s for all, 5,000 listeners in 1,000 rooms had their messages half a second late at the 99th percentile, and
20,000 would wait all the time. So the time-outs are such that recoveries take a tenth of what a Pushpin can do: up to some
2,000 streams they are 18 to 26 s, with more about a second for each hundred streams, 12 minutes at the most, and hardly two
end together. Then messages are 8 ms late (`.venv/bin/python -m benchmarks.links`). A stream of a private room is asked for
after 18 to 26 s all the same, so that it ends in time: plan for 5,000 of these on a Pushpin. A recovery is a read of the
table, shared by the streams of a room that ask at once: that is what quiet streams cost there.

At its start a flychat has every stream recovered, for what an earlier process may have left. The last one waits for held
streams / {recoveries:,} seconds then: with tens of thousands on a Pushpin restart one process after the other, in a quiet hour.

## A room of 100,000

All of its proxies are given every item, which is few items; the table above says how many proxies the deliveries
take. The history that opens a stream is read once for all clients that ask in the same moment, so a storm costs the store
next to nothing. It costs the app one short answer per client, up to {recoveries:,}/s from each proxy: enough app
processes to answer them, or patience. In several regions: proxies there, app processes and table in one; first sight
then takes the distance.
"""


if __name__ == "__main__":
    given = options(__doc__, out="docs/scaling.md")
    Path(given.out).write_text(document())
