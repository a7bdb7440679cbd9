"""Revocation that arrives, with a real Pushpin:  python -m tests.proof.revoking --streams 200 --revocations 40

One room that not everybody may read, with many streams: three quarters have a pass of their own, the others share
one. Some expire. Two senders write all the time, and people are revoked one after the other, the shared pass last.

- Each stream is a prefix of the log, in order and once each.
- One that was revoked ends within BOUND; unless items are lost, nothing comes on it that was sent after the
  revocation was answered.
- Nobody else is cut, and everybody else is given all.

`--lose` loses every item that is published for a pass, so that only recoveries are left. `--processes 2` has two
servers over one DynamoDB (moto): Pushpin asks the first one, and the revocations go to the second.
`--pushpin $FLYCHAT_TEST_PUSHPIN` takes another release of Pushpin.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from flychat.storage.dynamodb_table import create_table
from tests.conftest import dynamo_environment
from tests.proof.oracle import connect, fetch, read_body, read_head
from tests.support.moto_process import moto
from tests.support.ports import free_port
from tests.support.pushpin_proxy import Stage
from tests.support.sse_parser import parse

BOUND = 32.0  # seconds within which a stream ends whose right has ended
ROOM = "council"  # whose links have the shortest time-out, 18 s
PATH = f"/rooms/{ROOM}/messages/"
LATE = 2.0  # seconds after the last end in which nothing may come any more
KEY = "a key that is known to the tests, 32 bytes or more"
EXPIRING = 0.05  # of the streams, in the middle of the trial
EXPIRY = 5.0  # seconds that it may take to open all streams, if they are many
SENDERS, PAUSE = 2, 0.15
AT_ONCE = 20  # streams that are opened together


def bearer(sub: str, rights: str = "rw", expires: float | None = None) -> dict[str, str]:
    now = int(time.time())
    claims = {"sub": sub, "rooms": {ROOM: rights}, "iat": now - 5, "exp": int(expires or now + 3600)}
    return {"Authorization": f"Bearer {jwt.encode(claims, KEY)}"}


@dataclass
class Stream:
    """One client. `seen` is the text of every message that came, with the time; `ids` the official ones."""

    sub: str
    expires: float | None = None
    ids: list[int] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)  # by provisionalId, for the first time
    ended: float | None = None
    reason: str = ""

    async def open(self, url: str) -> None:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "0"}
        headers |= bearer(self.sub, expires=self.expires)
        reader, self.writer = await connect(url, "GET", PATH, headers)
        status, answer = await read_head(reader)
        assert status == 200, status
        self.body = read_body(reader, answer)

    async def read(self) -> None:
        rest = b""
        try:
            with contextlib.suppress(EOFError, OSError):
                async for chunk in self.body:
                    *blocks, rest = (rest + chunk).split(b"\n\n")
                    for block in blocks:
                        self._take(block + b"\n\n")
            self.ended = time.time()
        finally:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()

    def _take(self, block: bytes) -> None:
        for event in parse(block):
            if event.type == "stream-end":
                self.reason = json.loads(event.data)["reason"]
            elif event.type == "message":
                self.seen.setdefault(json.loads(event.data)["provisionalId"], time.time())
                if event.last_id:
                    self.ids.append(int(event.last_id))


@dataclass
class Report:
    """What was seen."""

    ends: list[float] = field(default_factory=list)  # seconds from the answer to a revocation to the end
    late: list[float] = field(default_factory=list)  # and to what was last given to such a stream
    expiries: list[float] = field(default_factory=list)
    after: int = 0  # messages on such streams that were sent after the answer
    messages: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.messages} messages"]
        for name, values in (("revoked", self.ends), ("expired", self.expiries)):
            if values:
                p50, longest = statistics.median(values), max(values)
                lines.append(
                    f"{len(values)} {name} streams ended after {p50:.2f} s (p50), {longest:.2f} s (longest)"
                )
        if self.late:
            lines.append(
                f"the last message on a revoked stream came {max(self.late):.2f} s after the answer; "
                f"of those sent after it came {self.after}"
            )
        return "\n".join([*lines, *self.wrong, f"{len(self.wrong)} violations"])


class Trial:
    """The senders, the streams, and who is revoked when."""

    def __init__(self, url: str, operator: str, streams: int, revocations: int, seconds: float) -> None:
        self.url, self.operator = url, operator
        self.revocations, self.seconds = revocations, seconds
        own = max(revocations, round(streams * 0.75))
        expiring = round(streams * EXPIRING)
        end = time.time() + seconds * 0.6 + min(EXPIRY, 1 + streams * 0.05)
        self.streams = [Stream(f"own{n}") for n in range(own)]
        self.streams += [Stream("shared") for _ in range(streams - own - expiring)]
        self.streams += [Stream(f"short{n}", expires=float(int(end) + n % 5)) for n in range(expiring)]
        self.sent: dict[str, float] = {}  # when a POST began, by its provisionalId
        self.revoked: dict[str, float] = {}  # when that was answered
        self.report = Report()

    async def run(self, drain: float) -> Report:
        for at in range(0, len(self.streams), AT_ONCE):
            await asyncio.gather(*(stream.open(self.url) for stream in self.streams[at : at + AT_ONCE]))
        readers = [asyncio.create_task(stream.read()) for stream in self.streams]
        stop = asyncio.Event()
        senders = [asyncio.create_task(self._send(n, stop)) for n in range(SENDERS)]
        await self._revoke()
        await self._ended(drain)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOUND):
                while any(s.ended is None and s.expires is not None for s in self.streams):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*senders)
        await self._everybody_has(self.report.messages)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        self._judge()
        return self.report

    async def _send(self, number: int, stop: asyncio.Event) -> None:
        headers = {"Content-Type": "application/json", **bearer(f"sender{number}")}
        while not stop.is_set():
            id = str(uuid.uuid4())
            content = {"from": "x", "text": "x", "provisionalId": id}
            self.sent[id] = time.time()
            status, _, body = await fetch(self.url, PATH, "POST", headers, json.dumps(content).encode())
            assert status == 200, (status, body)
            self.report.messages = max(self.report.messages, json.loads(body)["id"])
            await asyncio.sleep(PAUSE)

    async def _revoke(self) -> None:
        subs = [f"own{n}" for n in range(self.revocations - 1)] + ["shared"]
        for sub in subs:
            await asyncio.sleep(self.seconds / len(subs))
            headers = {"Content-Type": "application/json", **bearer("operator", "m")}
            content = json.dumps({"user": sub, "room": ROOM}).encode()
            status, _, body = await fetch(self.operator, "/revocations/", "POST", headers, content)
            assert status == 200, (status, body)
            self.revoked[sub] = time.time()

    async def _ended(self, drain: float) -> None:
        """Waits for the end of those who were revoked, as long as that may take; and then for what comes too late."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                while any(s.ended is None and s.sub in self.revoked for s in self.streams):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        await asyncio.sleep(LATE)

    async def _everybody_has(self, last: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOUND):
                while any(s.ended is None and s.ids[-1:] != [last] for s in self.streams):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    def _judge(self) -> None:
        report = self.report
        for stream in self.streams:
            who = f"a stream of {stream.sub}"
            if stream.ids != list(range(1, len(stream.ids) + 1)):
                report.wrong.append(f"{who}: not a prefix of the log")
            moment = self.revoked.get(stream.sub)
            if moment is not None:
                self._judge_revoked(stream, who, moment)
            elif stream.expires is not None:
                if stream.ended is None or stream.reason != "expired":
                    report.wrong.append(f"{who}: it goes on, or ended otherwise: {stream.reason}")
                else:
                    report.expiries.append(stream.ended - stream.expires)
                    if not 0 <= report.expiries[-1] <= BOUND:
                        report.wrong.append(f"{who}: it ended {report.expiries[-1]:.1f} s after its time")
            elif stream.ended is not None:
                report.wrong.append(f"{who}: it was cut, {stream.reason}")
            elif len(stream.ids) != report.messages:
                report.wrong.append(f"{who}: it has {len(stream.ids)} of {report.messages}")

    def _judge_revoked(self, stream: Stream, who: str, moment: float) -> None:
        if stream.ended is None or stream.reason != "revoked":
            self.report.wrong.append(f"{who}: it goes on, or ended otherwise: {stream.reason}")
            return
        self.report.ends.append(stream.ended - moment)
        self.report.late.append(max(stream.seen.values(), default=moment) - moment)
        if stream.ended - moment > BOUND:
            self.report.wrong.append(f"{who}: it ended {stream.ended - moment:.1f} s after the revocation")
        self.report.after += sum(self.sent.get(id, 0.0) > moment for id in stream.seen)


async def trial(
    directory: Path,
    *,
    streams: int,
    revocations: int,
    seconds: float,
    lose: bool = False,
    processes: int = 1,
    pushpin: str = "pushpin",
    changed: str = "",
) -> Report:
    """Runs one, with everything that it takes; `pushpin` names the program, `changed` see App."""
    stage = Stage(directory, pushpin)
    try:
        (directory / "secret").write_text(KEY + "\n")
        ports = [free_port() for _ in range(processes)]
        proxy = await stage.pushpin(*ports)
        control = stage.control(proxy)
        if lose:
            control.fate = lambda item: "lose" if item["channel"].startswith("pass-") else "pass"
        options = ["--secret", str(directory / "secret"), "--access", f"{ROOM}="]
        store, environ = None, {}
        if processes > 1:
            store, environ = "dynamodb:revoking", await _dynamodb(stage)
        apps = [
            await stage.app(port, [control.grip_url], *options, store=store, environ=environ, changed=changed)
            for port in ports
        ]
        at_work = Trial(proxy.url, apps[-1].url, streams, revocations, seconds)
        return await at_work.run(drain=BOUND)
    finally:
        await stage.close()


async def _dynamodb(stage: Stage) -> dict[str, str]:
    environ = dynamo_environment(stage.ending.enter_context(moto()))
    await create_table("revoking", environ)
    return environ


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.revoking", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--revocations", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--lose", action="store_true")
    parser.add_argument("--pushpin", default="pushpin", metavar="PROGRAM", help="another release of it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="revoking-") as directory:
        report = asyncio.run(trial(Path(directory), **vars(given)))
    print(report)
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
