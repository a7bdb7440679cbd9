"""An operator of a room that is in use: messages are removed, a person is erased, all is cleared, a pass revoked.

Each is asked for until it is answered, through any server. What the judge has to know is said to it before that, as
far as it may be true from then on, and after the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from flychat.messages import Draft

from ..judge import Key, Stored
from ..oracle import fetch
from .passes import OPERATOR

if TYPE_CHECKING:
    from .room import Room

PAUSE = 1.5  # seconds between two things that an operator does, on the average
SELDOM = {"clearing": 3}  # so that a room has something, and clients miss something
GONE = 404, 409  # what is to be removed was cleared, or has expired


class Operator:
    """Of one room."""

    def __init__(self, room: Room) -> None:
        self.room, self.stage = room, room.stage
        self._meant: set[int] = set()  # messages that somebody has asked to be removed
        self._entries: set[Key] = set()  # the removals themselves
        self._kinds = {"removal": self._remove, "erasure": self._erase, "clearing": self._clear}
        if room.private:
            self._kinds["revocation"] = self._revoke

    async def work(self, over: Callable[[], bool]) -> None:
        chance, done = self.stage.chance, self.stage.done
        kinds = self.stage.chosen(self._kinds)
        while True:
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE))
            if over():
                return
            kind = chance.choices(kinds, [1 / (1 + SELDOM.get(each, 1) * done[each]) for each in kinds])[0]
            await self._kinds[kind]()

    async def until_answered(
        self,
        method: str,
        path: str,
        fields: dict | None = None,
        *,
        headers: Callable[[], dict] | None = None,
        last: bool = False,
    ) -> dict:
        """The answer, also to one that tells that there is nothing: then it is empty.

        `last`: when it comes, no earlier try is still on its way, in a server whose answer nobody waits for.
        """
        body = b"" if fields is None else json.dumps(fields).encode()
        while True:
            status, answer = 0, b""
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                asked = headers() if headers else self.stage.passes.operator()
                url = self.stage.chance.choice(self.stage.apps).url if last else self.stage.post_url()
                asking = fetch(url, path, method, asked, body)
                status, _, answer = await asyncio.wait_for(asking, None if last else 20)
            self.stage.counts[f"operators' answers {status}"] += 1
            if status == 200:
                return json.loads(answer)
            if status in (400, 403):
                self.room.ledger.broken.append(f"{method} {path} is answered with {status}: {answer!r}")
            if status in (400, 403, *GONE):
                return {}
            await asyncio.sleep(self.stage.chance.uniform(0.1, 1))

    def path(self, more: str = "") -> str:
        return f"/rooms/{quote(self.room.name, safe='')}/messages/{more}"

    async def _remove(self) -> None:
        """Some messages, by DELETE or by POST; an author may do so as well, if a token says who that is."""
        chance, ledger, log = self.stage.chance, self.room.ledger, self.room.log
        known = {id: key for key, id in ledger.acknowledged.items() if id > log.floor}
        left = sorted(id for id, key in known.items() if id not in self._meant and key not in self._entries)
        if not left:
            return
        ids = tuple(sorted(chance.sample(left, min(len(left), chance.choice((1, 1, 2, 3))))))
        self._meant |= set(ids)
        user = known[ids[0]][0] if len(ids) == 1 else None
        by = user if user is not None and chance.random() < 0.5 else OPERATOR
        headers = (lambda: self._author(by)) if by != OPERATOR else None
        texts = {id: ledger.sent[known[id]] for id in ids}
        draft = Draft.removal(self.room.name, ids, {}, now=0, user=by)
        if len(ids) == 1 and chance.random() < 0.5:
            asking = self.until_answered("DELETE", self.path(str(ids[0])), headers=headers)
        else:
            key = str(uuid.UUID(int=chance.getrandbits(128)))
            draft = Draft.removal(self.room.name, ids, {"provisionalId": key}, now=0, user=by)
            fields = {"removes": ids, "provisionalId": key}
            asking = self.until_answered("POST", self.path(), fields, headers=headers)
        ledger.send(draft.key, draft.text)
        self._entries.add(draft.key)
        if answer := await asking:
            ledger.answer(draft.key, 200, Stored.read(answer), self.room.floor())
            self._gone(texts)
            await self._look(ids[0])
        elif not self.room.floor() >= ids[0]:
            ledger.broken.append(f"{ids} are said not to be there")

    def _author(self, user: str | None) -> dict[str, str]:
        return self.stage.passes.writer(user, self.room) | {"Content-Type": "application/json"}

    def _gone(self, texts: dict[int, str]) -> None:
        """These are removed: so it was answered."""
        self.stage.done["removal"] += 1
        self.room.ledger.removed |= set(texts)
        self.room.log.removed |= set(texts)
        self.stage.gone |= {text.encode() for text in texts.values()}

    async def _look(self, id: int) -> None:
        """On a page that is asked for after the answer, there is nothing left of it."""
        with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
            asking = fetch(
                self.stage.post_url(),
                self.path(f"?after={id - 1}&limit=1"),
                headers=self.stage.passes.operator() | {"Accept": "application/json"},
            )
            status, _, body = await asyncio.wait_for(asking, 10)
            for each in json.loads(body)["messages"] if status == 200 else ():
                self.stage.counts["pages looked at"] += 1
                if each["id"] == id and (each["text"] or not each.get("removed")):
                    self.room.ledger.broken.append(f"{id} was removed, and is on a page: {each}")

    async def _erase(self) -> None:
        """Somebody writes, and is erased with the name."""
        chance, ledger = self.stage.chance, self.room.ledger
        name = f"somebody {uuid.UUID(int=chance.getrandbits(128)).hex[:8]}"
        user = f"the user {name}" if self.room.private else None
        texts: dict[int, str] = {}
        for _ in range(chance.randint(1, 3)):
            key: Key = (user, name, str(uuid.UUID(int=chance.getrandbits(128))))
            texts |= await self._written(key, f"{name} says something in {self.room.name}")
        for count in range(1, len(texts) + 1):
            for ids in itertools.combinations(sorted(texts), count):
                draft = Draft.removal(self.room.name, ids, {}, now=0, user=OPERATOR, erases=True)
                ledger.send(draft.key, draft.text)
        self._meant |= set(texts)
        whose = {"from": name} if user is None else {"user": user}
        above: int | None = 0
        while above is not None:
            fields = {"room": self.room.name, "above": above, **whose}
            answer = await self.until_answered("POST", "/erasures/", fields)
            above = answer["next"] if answer else above  # what was found was cleared meanwhile: look again
        ledger.erased.add(name)
        self.stage.done["erasure"] += 1
        self.room.log.removed |= set(texts)
        self.stage.gone |= {name.encode()}

    async def _written(self, key: Key, text: str) -> dict[int, str]:
        """Its id, when it is in the log. No copy of it is still on its way then: who is erased writes no more."""
        ledger, fields = self.room.ledger, {"from": key[1], "text": text, "provisionalId": key[2]}
        ledger.send(key, text)
        while True:
            with contextlib.suppress(OSError, EOFError, ValueError):
                url, headers = self.stage.chance.choice(self.stage.apps).url, self._author(key[0])
                status, _, body = await fetch(url, self.path(), "POST", headers, json.dumps(fields).encode())
                answer = json.loads(body) if status == 200 else {}
                ledger.answer(key, status, Stored.read(answer) if answer else None, self.room.floor())
                if answer:
                    return {answer["id"]: text}
            await asyncio.sleep(self.stage.chance.uniform(0.1, 1))

    async def _clear(self) -> None:
        room = self.room
        room.clears()
        answer = await self.until_answered("POST", "/clearings/", {"room": room.name})
        room.cleared(answer.get("lastEventId", 0))
        self.stage.done["clearing"] += 1

    async def _revoke(self) -> None:
        await self.stage.passes.revoke(self.room)
        self.stage.done["revocation"] += 1
