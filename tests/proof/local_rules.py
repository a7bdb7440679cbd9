"""The rules of the local hub, switched off one by one, and the test of tests/unit/hub/test_local.py that notices."""

import asyncio

from flychat.hub.local import _Room
from flychat.log import MessageLog


def deliver_whatever_the_prev_id(monkeypatch):
    def publish(self, publication):
        self.position = publication.id or self.position
        self.feed(publication.content)

    monkeypatch.setattr(_Room, "publish", publish)


def attach_whatever_the_position(monkeypatch):
    async def attach(self, held, position):
        held.audience.join(held)

    monkeypatch.setattr(_Room, "attach", attach)


def trust_the_first_hold(monkeypatch):
    attach = _Room.attach

    async def mutated(self, held, position):
        recover, self.recover = self.recover, lambda: None
        await attach(self, held, position)
        self.recover = recover

    monkeypatch.setattr(_Room, "attach", mutated)


def say_of_every_log_that_it_ends_there(monkeypatch):
    monkeypatch.setattr(MessageLog, "ends_at", lambda self, name, id: True)


def ignore_gaps(monkeypatch):
    recover = _Room.recover

    def mutated(self):
        return asyncio.ensure_future(asyncio.sleep(1)) if self.inhabited else recover(self)

    monkeypatch.setattr(_Room, "recover", mutated)


MUTATIONS = [
    (deliver_whatever_the_prev_id, "test_a_lost_publication_is_made_good_by_the_next_one"),
    (
        deliver_whatever_the_prev_id,
        "test_publications_doubled_or_out_of_order_are_delivered_once_in_order",
    ),
    (attach_whatever_the_position, "test_a_hold_that_is_behind_its_room_is_brought_up_before_it_joins"),
    (attach_whatever_the_position, "test_a_hold_that_is_ahead_of_its_room_shows_that_the_room_is_behind"),
    (trust_the_first_hold, "test_a_publication_between_the_plan_and_the_hold_is_not_missed"),
    (say_of_every_log_that_it_ends_there, "test_a_publication_between_the_plan_and_the_hold_is_not_missed"),
    (ignore_gaps, "test_a_lost_publication_is_made_good_by_the_next_one"),
]
