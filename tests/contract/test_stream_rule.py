"""The rule by which every client of ours takes a stream: stream_rule.json, by the Python client.

The page's conversation.js goes through the same table in tests/unit/page/.
"""

import json
from pathlib import Path

import pytest

from flychat.client.follower import Follower, Reset, Retraction
from flychat.messages import ERASED, Draft, Message
from flychat.sse import Event, to_json

TABLE = json.loads(Path(__file__).with_name("stream_rule.json").read_text())
CASES = {case["name"]: case for case in TABLE["cases"]}
EVENTS = {"open": "stream-open", "keep-alive": "keep-alive", "news": "news"}


def fields(key: int, user: str | None = None) -> dict[str, str]:
    content = {
        "from": "Ann",
        "text": f"text {key}",
        "date": "2026-01-31T12:00:00.000Z",
        "provisionalId": f"00000000-0000-4000-8000-{key:012}",
    }
    return content if user is None else {**content, "user": user}


class Client:
    """A follower, and what somebody who shows all that it tells has on the screen."""

    def __init__(self, begins: int | None) -> None:
        self.follower = Follower("tea", begins)
        self.asked: int | None = None
        self.official: list[int] = []
        self.gone: set[int] = set()  # of the official ones
        self.loose: list[tuple[str | None, int]] = []  # user, key
        self.follower.connected()

    def take(self, event: Event) -> None:
        assert self.asked is None, "it wanted another stream"
        try:
            seen = self.follower.take(event)
        except ConnectionError:
            self.asked = self.follower.position
            return
        match seen:
            case Message():
                self.official.append(seen.id)
                self.gone |= {*seen.removes, *([] if seen.removed is None else [seen.id])}
                self._drop(seen, whoever=seen.removed is not None and seen.sender == ERASED)
            case Draft():
                self.loose.append((seen.user, int(seen.provisional_id[-12:])))
            case Retraction():
                self._drop(seen)
            case Reset():
                self.official.clear()
                self.gone.clear()
                self.loose.clear()

    def _drop(self, seen: Message | Retraction, *, whoever: bool = False) -> None:
        gone = (seen.user, int(seen.provisional_id[-12:]))
        self.loose = [
            (user, key) for user, key in self.loose if ((gone[0] if whoever else user), key) != gone
        ]

    def step(self, step: str) -> None:
        step, _, user = step.partition(" by ")
        by = (user or None,)
        match step.split():
            case ["shows", *words]:
                official, _, loose = " ".join(words).partition("/")
                assert (self.official, [key for _, key in self.loose]) == (
                    [*map(int, official.split())],
                    [*map(int, loose.split())],
                )
            case ["asks", position]:
                assert self.asked == int(position)
                self.asked = None
                self.follower.connected()
            case ["cut", position]:
                assert self.follower.position == int(position)
                self.follower.connected()
            case ["gone", *ids]:
                assert sorted(self.gone & {*self.official}) == [*map(int, ids)]
            case ["official", id, *more]:
                key, ids = (more[1], ()) if more[:1] == ["key"] else (id, map(int, more[1:]))
                about = {"id": int(id), **fields(int(key), *by)}
                if more[:1] == ["removes"]:
                    about["removes"] = list(ids)
                elif more[:1] in (["removed"], ["erased"]):
                    about |= {"text": "", "removed": next(iter(ids))}
                if more[:1] == ["erased"]:
                    about["from"] = ERASED
                self.take(Event("message", to_json(about), id=int(id)))
            case ["provisional", key]:
                self.take(Event("message", to_json(fields(int(key), *by))))
            case ["retraction", key]:
                about = fields(int(key), *by)
                whose = {name: about[name] for name in ("provisionalId", "user") if name in about}
                self.take(Event("retraction", to_json(whose)))
            case ["reset", reason, last, "at", id]:
                about = {"reason": reason, "lastEventId": int(last)}
                self.take(Event("stream-reset", to_json(about), id=int(id)))
            case [name]:
                self.take(Event(EVENTS[name], "{}"))
            case _:
                raise AssertionError(f"what is {step!r}?")


@pytest.mark.parametrize("name", CASES)
def test_the_stream_rule(name):
    client = Client(CASES[name]["begins"])
    for step in CASES[name]["steps"]:
        client.step(step)
    assert client.asked is None
