"""Every rule that keeps the streams whole, switched off, and what notices:  python -m tests.proof.mutations

A mutation is a patch of flychat that breaks one rule. It must be caught, by the simulation (the first seed at
which the judge objects is printed), by the conversations of log_rules.py, or by a test. The mutations of
log_rules.py and local_rules.py are run from here as well; their own files say what they do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import io
import logging
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flychat import showing, signals, streams
from flychat.access.gate import Access
from flychat.access.keeper import Keeper
from flychat.chat import Chat
from flychat.client.follower import Follower
from flychat.errors import Unavailable
from flychat.hub import pushpin as pushpin_module
from flychat.hub.links import Links
from flychat.hub.local import LocalHub, _Room
from flychat.hub.publisher import Publisher
from flychat.hub.pushpin import PushpinHub, Verifier
from flychat.hub.recoveries import Recent, Recoveries
from flychat.hub.sockets import Audience, Connections
from flychat.hub.waiting import Backlog, Owed
from flychat.log import MessageLog, clearing
from flychat.log import drafts as drafts_module
from flychat.log import reading as reading_module
from flychat.log.keys import Keys
from flychat.log.memory import Rooms
from flychat.log.reading import Reader, SharedReads
from flychat.log.room import Room
from flychat.log.view import View
from flychat.log.window import Window
from flychat.messages import Message
from flychat.resolver import Resolver
from flychat.showing import Patient
from flychat.storage import Run, sqlite_put
from flychat.storage.dynamodb_direct import Direct
from flychat.storage.dynamodb_reads import TableReader
from flychat.storage.sqlite import SqliteEngine
from flychat.storage.worker import Worker
from flychat.tools import copying, importing
from flychat.web import plain as plain_module
from flychat.web.accepting import Arrivals
from flychat.web.clients import ClientListener
from flychat.web.cold_rooms import ColdRooms
from flychat.web.held import HeldByProxy
from flychat.web.messages import RecoveryHandler
from flychat.web.shedding import Shedding
from flychat.web.shortcut import Shortcut
from tests.proof import local_rules, log_rules, removal_rules
from tests.proof.simulation.running import first_failure
from tests.proof.simulation.scenario import FAULTS, Report
from tests.proof.simulation.store import Way
from tests.proof.simulation.world import World

SEEDS = 10_000

Patch = Callable[[pytest.MonkeyPatch], None]


def rewrite(patch: pytest.MonkeyPatch, owner: Any, name: str, old: str, new: str) -> None:
    """The method with a piece of its source replaced."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old} is not in {owner.__name__}.{name} (any more)"
    scope: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source.replace(old, new), function.__globals__, scope)
    patch.setattr(owner, name, scope[name])


# Streams and plans


def answer_below_grip_last(patch: pytest.MonkeyPatch) -> None:
    """A recovery may be answered from a reading that is older than its Grip-Last."""
    seen_by = World.seen_by

    def old(self: World, way: Way) -> list:
        if self.scenario.mode == "standalone":
            return seen_by(self, way)
        now = self.loop.time()
        return [commit for at, commit in self.store.applied if at <= now - 0.5]

    patch.setattr(World, "seen_by", old)


def share_a_read_that_has_begun(patch: pytest.MonkeyPatch) -> None:
    """An answer may be older than its question."""

    async def get(self, key, read, turns):
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(read())
            task.add_done_callback(
                lambda done: (self._running.pop(key), done.cancelled() or done.exception())
            )
        return await asyncio.shield(task)

    patch.setattr(SharedReads, "get", get)


def prev_id_of_another_reading(patch: pytest.MonkeyPatch) -> None:
    """The prev-id is higher than the last event of the body."""
    plan_stream = streams.plan_stream

    def mutated(request, page):
        plan = plan_stream(request, page)
        if request.recover or not plan.messages:
            return plan
        return replace(plan, messages=plan.messages[:-1])

    patch.setattr("flychat.log.plan_stream", mutated)


def skip_what_is_too_much(patch: pytest.MonkeyPatch) -> None:
    """A client that is more than REPLAY behind is given the newest, and no reset."""
    replay = streams.replay

    def mutated(page, position):
        return page.messages[-streams.HISTORY :] if position < page.last_id else replay(page, position)

    patch.setattr(streams, "replay", mutated)


def let_a_position_be_ahead(patch: pytest.MonkeyPatch) -> None:
    """A position beyond the log is taken for its end."""
    replay = streams.replay
    patch.setattr(streams, "replay", lambda page, at: () if at > page.last_id else replay(page, at))
    patch.setattr(reading_module, "replay", streams.replay)


def reset_without_an_id(patch: pytest.MonkeyPatch) -> None:
    """A client that is cut between a reset and the first message comes back with its old position."""
    reset = streams._reset
    patch.setattr(streams, "_reset", lambda *arguments: replace(reset(*arguments), id=None))


def reset_to_the_end(patch: pytest.MonkeyPatch) -> None:
    """The id of a reset is the last of the log, as if what follows it had been given already."""
    reset = streams._reset
    patch.setattr(streams, "_reset", lambda reason, last_id, position: reset(reason, last_id, last_id))


def replay_one_too_many(patch: pytest.MonkeyPatch) -> None:
    """A client that comes back is given its last message again."""
    replay = streams.replay
    patch.setattr(streams, "replay", lambda page, at: replay(page, max(0, at - 1)))


# Writing, and telling


def show_and_forget(patch: pytest.MonkeyPatch) -> None:
    """What could not be stored is not retracted."""
    provisional = streams.provisional
    empty = streams.Publication("nowhere", b"")
    patch.setattr(
        "flychat.showing.provisional",
        lambda draft, retracted=False: empty if retracted else provisional(draft),
    )


def answer_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    """An unknown outcome is a 200."""
    post = Chat.post

    async def mutated(self, draft):
        try:
            return await post(self, draft)
        except Unavailable:
            return Message(1, draft.sender, draft.text, draft.date, draft.provisional_id)

    patch.setattr(Chat, "post", mutated)


def forget_what_was_given_up(patch: pytest.MonkeyPatch) -> None:
    """A draft that was given up is not looked for in the log afterwards."""

    def give_up(self, late):
        self._drop(late, Unavailable())

    patch.setattr(Room, "_give_up", give_up)


def believe_the_window(patch: pytest.MonkeyPatch) -> None:
    """Drafts are not looked for in the log before they are put."""
    patch.setattr(Room, "_settle", lambda self: None)
    put = Room._put

    async def mutated(self, place, drafts):
        await put(self, place, drafts)
        for waiter in list(self._waiting):
            message = self.window.find(waiter.draft)
            if message is not None and any(waiter.draft is draft for draft in drafts):
                self._waiting.remove(waiter)
                waiter.answer(message)

    patch.setattr(Room, "_put", mutated)


def take_what_was_submitted_for_stored(patch: pytest.MonkeyPatch) -> None:
    """A put without a task is taken for a success, whatever the store says."""
    rewrite(patch, Room, "_landed", "if failure is not None:", "if False:")


def forget_what_was_submitted(patch: pytest.MonkeyPatch) -> None:
    """A put that fails is left to the next message of the room."""
    rewrite(patch, Room, "_landed", "self._start_writer((drafts, failure))", "pass")


def a_second_process_is_alone(patch: pytest.MonkeyPatch) -> None:
    """Nobody reads what other processes wrote."""
    tick = LocalHub._tick

    def mutated(self):
        self._polls = False
        tick(self)

    patch.setattr(LocalHub, "_tick", mutated)


def a_shared_store_is_read_from_memory(patch: pytest.MonkeyPatch) -> None:
    """Readers are served from the window though others write behind it."""
    rewrite(patch, MessageLog, "__init__", "memory and not engine.shared", "memory")


# Holding


def a_recovery_is_always_in_time(patch: pytest.MonkeyPatch) -> None:
    """What a recovery brings is fed, although the room has moved meanwhile."""
    rewrite(patch, _Room, "_recover", "if self.position != asked:", "if False:")


def owe_nothing(patch: pytest.MonkeyPatch) -> None:
    """What the socket does not take of an opening is dropped."""
    owe = Connections.owe

    def mutated(self, held, *what):
        owe(self, held, *what)
        held.owed = ()

    patch.setattr(Connections, "owe", mutated)


def count_what_was_not_sent(patch: pytest.MonkeyPatch) -> None:
    """The cursor moves on, although the socket took only a part."""
    send = Connections.send

    def mutated(self, held, data):
        return send(self, held, data) and len(data)

    patch.setattr(Connections, "send", mutated)


def never_cut(patch: pytest.MonkeyPatch) -> None:
    """A cursor that the backlog has passed goes on where the backlog begins."""
    rewrite(patch, Audience, "_end_pass", "each.lagging and each.cursor < self.backlog.start]", "False]")


def skip_to_the_end(patch: pytest.MonkeyPatch) -> None:
    """One that lags is sent the newest block, wherever its cursor is."""
    patch.setattr(Backlog, "batch", lambda self, offset: b"".join(self._blocks[-1:]))


# Publishing to a proxy


def show_what_was_cleared(patch: pytest.MonkeyPatch) -> None:
    """A void commit clears nothing: what was before it is shown, and replayed."""

    def messages_of(commits):
        return tuple(message for commit in commits for message in commit.messages)

    for module in ("flychat.log", "flychat.log.reading", "flychat.log.view"):
        patch.setattr(f"{module}.messages_of", messages_of)


def a_recovery_is_never_ahead(patch: pytest.MonkeyPatch) -> None:
    """A hold that is beyond the log, which was replaced by an older copy, is taken for one at its end."""
    plan_stream = streams.plan_stream

    def mutated(request, page):
        if request.recover and request.last_id > page.last_id:
            request = replace(request, last_id=page.last_id)
        return plan_stream(request, page)

    patch.setattr("flychat.log.plan_stream", mutated)


def retract_at_the_first_proxy(patch: pytest.MonkeyPatch) -> None:
    """What could not be stored is retracted for the clients of one proxy only."""
    publish = pushpin_module.PushpinHub.publish

    def mutated(self, publication):
        publishers = self.publishers
        if b"event: retraction" in publication.content:
            self.publishers = publishers[:1]  # the second one is the late one
        publish(self, publication)
        self.publishers = publishers

    patch.setattr(pushpin_module.PushpinHub, "publish", mutated)


def the_id_of_a_reset_by_count(patch: pytest.MonkeyPatch) -> None:
    """Fewer than HISTORY messages follow a reset where these are large; its id says otherwise."""
    reset = streams._reset

    def mutated(reason, last_id, before):
        return reset(reason, last_id, min(before, max(0, last_id - streams.HISTORY)))

    patch.setattr(streams, "_reset", mutated)


def clear_twice(patch: pytest.MonkeyPatch) -> None:
    """A void commit whose answer was lost is taken for somebody else's."""
    stored = "return bool(there) and not there[-1].messages"
    rewrite(patch, clearing, "_stored", stored, "return False")


def wait_two_minutes(patch: pytest.MonkeyPatch) -> None:
    """The link has Pushpin's own time-out."""
    patch.setattr(Links, "seconds", lambda _links, *, carries_pass: 120)


def prev_id_unchecked(patch: pytest.MonkeyPatch) -> None:
    """Publications in a GRIP channel are not checked against the position."""
    headers = pushpin_module.grip_headers

    def mutated(*arguments, **named):
        result = headers(*arguments, **named)
        return result | {"Grip-Channel": result["Grip-Channel"].replace("prev-id=", "last-id=")}

    patch.setattr(pushpin_module, "grip_headers", mutated)


def give_up_in_silence(patch: pytest.MonkeyPatch) -> None:
    """What is given up is not made up for by a hint."""
    patch.setattr(Publisher, "_drop", lambda self, items: None)


def start_in_silence(patch: pytest.MonkeyPatch) -> None:
    """A new process does not ask the proxy to recover everybody."""
    init = Publisher.__init__

    def mutated(self, *arguments, **options):
        init(self, *arguments, **options)
        self.must_recover_all = False

    patch.setattr(Publisher, "__init__", mutated)


def try_once(patch: pytest.MonkeyPatch) -> None:
    """A batch that was not taken is not sent again."""
    init = Publisher.__init__
    patch.setattr(
        Publisher, "__init__", lambda self, target, **options: init(self, target, give_up=-1, **options)
    )


def the_newest_first(patch: pytest.MonkeyPatch) -> None:
    """A batch is not in the order in which it was published."""
    take = Publisher._take
    patch.setattr(Publisher, "_take", lambda self, *limits: take(self, *limits)[::-1])


# The stores


def read_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    """Queries are not consistent."""
    rewrite(patch, TableReader, "_query", '"ConsistentRead": True', '"ConsistentRead": False')


def read_past_the_position(patch: pytest.MonkeyPatch) -> None:
    """A reading that did not come down to the position is taken for whole."""
    rewrite(patch, TableReader, "_after", "if not left:", "if items:")


def look_at_all_places(patch: pytest.MonkeyPatch) -> None:
    """All places at which the commit that holds an id may begin are looked at, whatever has been found."""
    rewrite(patch, TableReader, "_after", "min(run.limit + 1, NEAR)", "NEAR + COMMIT_MESSAGES")


def miss_the_first_place(patch: pytest.MonkeyPatch) -> None:
    """A reading of the past does not look at the farthest place at which its oldest commit may begin."""
    rewrite(patch, TableReader, "_below", "COMMIT_MESSAGES + 1", "COMMIT_MESSAGES + 2")


def overtake_puts(patch: pytest.MonkeyPatch) -> None:
    """A read goes before the puts that wait."""
    rewrite(patch, Worker, "_do_next", "if self._puts:", "if self._puts and not any(self._jobs):")


def a_hole_is_the_end(patch: pytest.MonkeyPatch) -> None:
    """A reading that ends at a missing commit is taken for the whole."""
    patch.setattr(Run, "to_the_end", lambda self: self.commits)


def any_size(patch: pytest.MonkeyPatch) -> None:
    """A commit may have any number of bytes."""
    patch.setattr(drafts_module, "COMMIT_BYTES", 1 << 30)


def refused_are_answered(patch: pytest.MonkeyPatch) -> None:
    """What is late is served all the same."""
    patch.setattr(Shedding, "refuses", lambda self, waited, turn: False)


def one_pause_is_overload(patch: pytest.MonkeyPatch) -> None:
    """Who has waited is refused, after a single pause too."""
    patch.setattr(Shedding, "refuses", lambda self, waited, turn: waited >= 0.5)


def no_room_for_anybody(patch: pytest.MonkeyPatch) -> None:
    """A client that was refused once pauses again and again, if it does not wait for the end of its pause."""
    patch.setattr(Shedding, "lets_in", lambda self: False)


def all_come_back_at_once(patch: pytest.MonkeyPatch) -> None:
    """Who was refused pauses no more, whatever the queue."""
    patch.setattr(Shedding, "lets_in", lambda self: True)


def soon_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A server that has got over one wave lets the next one wait for as long."""
    patch.setattr("flychat.web.shedding.MEMORY", 0.25)


def gone_are_stored(patch: pytest.MonkeyPatch) -> None:
    """A message is stored although its client has gone before the store had it."""
    patch.setattr(MessageLog, "withdraw", lambda self, draft: None)


def stored_is_withdrawn(patch: pytest.MonkeyPatch) -> None:
    """A message is refused, and taken back, that the store has been given already."""
    rewrite(patch, Room, "withdraw", "and not w.tried", "")


def any_header(patch: pytest.MonkeyPatch) -> None:
    """A header that nobody knows is plain."""
    patch.setattr(plain_module, "KNOWN", dict.fromkeys(("GET", "POST"), _Everything()))


def any_origin(patch: pytest.MonkeyPatch) -> None:
    """A plain POST may come from a page of any origin."""
    rewrite(patch, plain_module, "_post", '"origin" in headers and', "False and")


def any_access(patch: pytest.MonkeyPatch) -> None:
    """The shortcut does not ask whether everybody may."""
    patch.setattr(Access, "anybody_may", lambda self, room, right, headers: True)


class _Everything:
    def issuperset(self, _names: object) -> bool:
        return True


# One line each, that a maintainer might write


def line(name: str, says: str, owner: Any, method: str, old: str, new: str) -> Patch:
    """The mutation `name`: in a method, `old` is `new`."""

    def patch(patch: pytest.MonkeyPatch) -> None:
        rewrite(patch, owner, method, old, new)

    patch.__name__, patch.__doc__ = name, says
    return patch


def insert_what_fits(patch: pytest.MonkeyPatch) -> None:
    """A statement of several puts is taken for done, whatever places were taken."""
    patch.setattr(sqlite_put, "INSERT", sqlite_put.INSERT.replace("INSERT", "INSERT OR IGNORE"))


OFFICIAL_ONLY = "contract/test_stream.py::test_without_provisional_events_a_stream_has_what_is_stored"
RECOVERED = "contract/test_stream.py::test_a_stream_without_provisional_events_is_made_whole"
LINES = [
    (
        line(
            "a_signal_has_an_id",
            "A signal moves the position with which a client comes back.",
            *(signals, "_publication", "to_json(fields))", "to_json(fields), id=1)"),
        ),
        "signal",
    ),
    (
        line(
            "a_signal_is_official",
            "A signal stands among the messages, in whose place the proxy then takes it.",
            *(signals, "_publication", ".encode())", ".encode(), 1, 0)"),
        ),
        "unit/test_signals.py::test_it_is_told_to_those_who_listen_now_and_moves_no_position",
    ),
    (
        line(
            "signals_are_signs_of_life",
            "A proxy takes signals for what a client is waiting for, who may not know any.",
            *(pushpin_module, "grip_headers", "mode=interval", "mode=idle"),
        ),
        "contract/test_signals.py"
        "::test_signals_do_not_keep_a_client_that_knows_none_from_its_keep_alives[model]",
    ),
    (
        line(
            "signals_before_messages",
            "What may be lost is added to a queue that is about to drop messages.",
            *(Chat, "signal", "if self._hub.pressed():", "if False:"),
        ),
        "unit/test_chat.py::test_a_signal_is_passed_on_before_it_is_answered_and_refused_where_much_waits",
    ),
    (
        line(
            "signals_left_behind",
            "A signal is answered while it is on its way to the proxy: the process may be frozen then.",
            *(Chat, "signal", "await self._hub.passed_on()", "pass"),
        ),
        "unit/test_chat.py::test_a_signal_is_passed_on_before_it_is_answered_and_refused_where_much_waits",
    ),
    (
        line(
            "told_as_they_come",
            "Everybody is told of everybody at once.",
            *(Chat, "signal", "if signal.kind == HERE:", "if False:"),
        ),
        "contract/test_signals.py::test_who_is_here_is_gathered[standalone]",
    ),
    (
        line(
            "provisional_for_all",
            "Who asked for official events only is shown provisional ones too.",
            *(_Room, "feed", "if audience.live or not live:", "if True:"),
        ),
        f"{OFFICIAL_ONLY}_and_what_keeps_it_going[standalone]",
    ),
    (
        line(
            "provisional_keep_all_alive",
            "An event without an id counts as a sign of life for those who do not know it.",
            *(_Room, "feed", "if not live:", "if True:"),
        ),
        "unit/hub/test_local.py::test_what_has_no_id_keeps_nobody_from_being_kept_alive",
    ),
    (
        line(
            "one_link",
            "A recovery gives a stream of official events its provisional ones.",
            *(pushpin_module, "grip_headers", "if plan.request.provisional else OFFICIAL_PATH", ""),
        ),
        f"{RECOVERED}_where_a_publication_is_lost[model]",
    ),
    (
        line(
            "a_link_to_another_place",
            "A recovery is asked for outside of the base path, where nothing answers.",
            *(pushpin_module, "grip_headers", "base_path + (", "("),
        ),
        "contract/test_base_path.py::"
        "test_a_stream_beneath_it_is_whole_and_a_proxy_finds_what_it_has_missed[model]",
    ),
    (
        line(
            "end_what_is_cut",
            "A stream that is cut seems to have ended.",
            *(
                Connections,
                "cut",
                "held.socket.close()",
                "held.socket.send(audience.last) and held.socket.close()",
            ),
        ),
        "unit/hub/test_sockets.py::test_a_stream_that_is_cut_has_no_last_chunk",
    ),
    (
        line(
            "never_end",
            "A stream that ends with its server seems to be cut.",
            *(Connections, "let_go", " + audience.last", ""),
        ),
        "unit/hub/test_local.py::test_at_the_end_streams_close_cleanly_and_their_return_is_spread",
    ),
    (
        line(
            "one_audience",
            "All streams of a room are framed as that of its first client.",
            *(_Room, "audience", "if (audience.chunked, audience.live) == (chunked, live):", "if True:"),
        ),
        "standalone",
    ),
    (
        line(
            "owe_copies",
            "What waits for a client is a copy of its own.",
            *(Connections, "owe", "Owed(audience.frame, head, parts, size)"),
            "Owed(audience.frame, head, (b''.join(parts),), size)",
        ),
        "unit/hub/test_sockets.py::test_clients_that_do_not_read_cost_no_copy_of_what_waits_for_them",
    ),
    (
        line(
            "any_turn",
            "All that a client's socket takes of its plan is sent at once.",
            *(Owed, "next", "if self.size <= SEND_BYTES", "if True"),
        ),
        "unit/hub/test_sockets.py::test_a_turn_of_the_loop_sends_a_bounded_number_of_bytes",
    ),
    (
        line(
            "trim_to_the_end",
            "What came while a pass was under way is dropped at its end.",
            *(Audience, "_end_pass", "min([upto,", "min([self.backlog.end,"),
        ),
        "unit/hub/test_local.py::test_what_is_published_between_two_slices_of_a_pass_reaches_those_that_were_served_already",
    ),
    (
        line(
            "owed_at_once",
            "What a client is owed goes out before what it is owed already.",
            *(Connections, "owe", "if not held.owed:", "if True:"),
        ),
        "unit/hub/test_local.py::test_nothing_overtakes_what_a_client_is_owed",
    ),
    (
        line(
            "fed_at_once",
            "What a room is fed goes out before what a client is owed.",
            *(Audience, "_pass", "or held.lagging or", "or"),
        ),
        "unit/hub/test_local.py::test_nothing_overtakes_what_a_client_is_owed",
    ),
    (
        line(
            "forget_a_gap_during_a_recovery",
            "A recovery that is asked for while one is under way is not made.",
            *(_Room, "recover", "self._again = True", "self._again = self._recovering is None"),
        ),
        "unit/hub/test_local.py::test_a_gap_that_shows_during_a_recovery_is_mended_after_it_though_nothing_follows",
    ),
    (
        line(
            "follow_a_log_without_its_beginning",
            "A writer with an old tail goes on there, though the log begins behind it.",
            *(Room, "_catch_up", "(commits[0].first > tail + 1) if commits else (tail > 0)", "False"),
        ),
        "unit/log/test_log.py::test_a_writer_whose_tail_is_old_sees_that_the_log_has_lost_its_beginning",
    ),
    (
        line(
            "doubt_the_last_only",
            "What is given up later takes the place of what was given up before.",
            *(Room, "_doubt", "self._doubtful |=", "self._doubtful ="),
        ),
        "unit/log/test_log.py::test_what_was_given_up_stays_in_doubt_when_more_is_given_up",
    ),
    (
        line(
            "doubt_what_was_never_put",
            "A room is read again and again for what cannot be in the log, as long as the store is away.",
            *(Room, "_give_up", " if waiter.tried", ""),
        ),
        "unit/log/test_log.py::test_a_room_is_not_read_again_and_again_for_a_draft_that_was_never_put",
    ),
    (
        line(
            "doubt_and_do_not_look",
            "What is given up after a search is in doubt, and the log is not read again.",
            *(Room, "_doubt", "self.forget()", "pass"),
        ),
        "unit/log/test_log_back.py::test_a_search_that_fails_leaves_a_doubt_that_is_looked_into_and_nobody_spins",
    ),
    (
        line(
            "evict_the_busy",
            "A room that is being written leaves memory.",
            *(Rooms, "_let_leave", " and not oldest.busy", ""),
        ),
        "unit/log/test_log.py::test_a_room_that_is_being_written_does_not_leave_memory",
    ),
    (
        line(
            "share_whatever_the_position",
            "Who shares the reading of a client that is far behind is reset as that one is.",
            *(Reader, "following", "replay(page, last_id) is not None", "True"),
        ),
        "unit/log/test_cold.py::test_those_who_share_a_reading_are_each_given_what_they_would_be_given_alone",
    ),
    (
        line(
            "let_all_come_back_together",
            "Clients that were refused together are looked at together, round after round.",
            *(ClientListener, "_go_on", "SPREAD if evenly > 0 else 0", "0"),
        ),
        "unit/web/test_shedding.py::test_clients_that_were_refused_together_are_not_looked_at_together_for_ever",
    ),
    (
        line(
            "read_the_first_part_only",
            "What does not fit into one query of SQLite is taken for the end of the log.",
            *(SqliteEngine, "_read", "more, query = len(rows) == most, then", "more, query = False, then"),
        ),
        "contract/test_storage.py::test_a_put_passes_between_the_parts_of_a_long_reading",
    ),
    (
        insert_what_fits,
        "contract/test_storage.py::test_a_taken_place_does_not_disturb_those_in_its_transaction",
    ),
    (
        line(
            "begin_all_reads_at_once",
            "A reading that waits for its turn counts as begun, and those who come meanwhile have another one.",
            *(Reader, "__init__", "asyncio.Semaphore(engine.reads)", "asyncio.Semaphore(10**6)"),
        ),
        "unit/log/test_log_back.py::test_those_who_wait_for_their_turn_share_what_has_not_begun",
    ),
    (
        line(
            "let_messages_wait_for_readers",
            "What a message for a cold room waits for is read after all that streams have asked for.",
            *(Reader, "share", "nullcontext() if at_once else self._turns", "self._turns"),
        ),
        "unit/log/test_cold.py::test_a_message_for_a_cold_room_does_not_wait_for_those_who_want_to_read",
    ),
    (
        line(
            "find_out_one_by_one",
            "Those who wait for their turn are not told that the store is mute.",
            *(Reader, "patient", "self._mute = loop.time()", "pass"),
        ),
        "unit/log/test_log_back.py::"
        "test_all_who_wait_for_a_mute_store_are_told_so_together_and_not_a_few_at_a_time",
    ),
    (
        line(
            "take_one_room_for_all",
            "A room that cannot be read has all who wait for another one refused.",
            *(Reader, "patient", "if self._answered < failed:", "if True:"),
        ),
        "unit/log/test_log_back.py::test_a_room_that_cannot_be_read_has_nobody_refused_who_waits_for_another",
    ),
    (
        line(
            "answer_all_at_once",
            "All who waited for a room are answered in one turn of the loop.",
            *(ColdRooms, "_follow", "min(LET_IN_AT_ONCE, len(others))", "len(others)"),
        ),
        "unit/web/test_cold_rooms.py::"
        "test_those_who_wait_for_one_room_are_one_task_and_are_answered_some_in_a_turn",
    ),
    (
        line(
            "write_after_those_who_wait",
            "After a restart who comes to write waits until all streams before are let in.",
            *(Arrivals, "_accept", 'peeked(connection, 4) != b"POST"', "1"),
        ),
        "unit/web/test_cold_rooms.py::"
        "test_all_are_accepted_and_let_in_some_in_a_turn_and_who_comes_to_write_before_those_who_wait",
    ),
    (
        line(
            "wait_for_those_who_were_let_go",
            "Who waited for another one's reading, and was let go, counts as under way.",
            *(ColdRooms, "close", "self._application.end(asked.client)", "pass"),
        ),
        "unit/web/test_cold_rooms.py::test_all_who_wait_are_let_go_when_the_server_ends",
    ),
    (
        line(
            "drop_who_finds_nothing",
            "Who waits for another one, whose reading fails, is given nothing.",
            *(ColdRooms, "_follow", "self._spawn(self._read(asked))", "pass"),
        ),
        "unit/web/test_cold_rooms.py::"
        "test_those_who_wait_for_one_whose_reading_failed_have_the_room_read_for_themselves",
    ),
    (
        line(
            "read_a_cold_room_for_each",
            "Who comes while a cold room is read has it read once more.",
            *(View, "_load", "if self.window is not None:", "if False:"),
        ),
        "unit/log/test_cold.py::test_who_comes_while_a_cold_room_is_read_has_it_read_no_second_time",
    ),
    (
        line(
            "look_for_no_doubt",
            "What was given up is not looked for where a client is that asks first.",
            *(View, "_load", " and not self._doubtful", ""),
        ),
        "unit/log/test_cold.py::test_what_is_in_doubt_is_looked_for_among_the_newest_whoever_asks_first",
    ),
    (
        line(
            "take_what_was_read_for_the_end",
            "A reading from a position that stopped at its limit is taken for the end of the log.",
            *(View, "_since", "commits[-1].last - position < FIRST", "True"),
        ),
        "unit/log/test_cold.py::test_whoever_warms_a_room_everybody_is_given_what_the_store_would_give",
    ),
    (
        line(
            "deepen_once",
            "Who needs much of the past is given what another one, who needed little, had read.",
            *(View, "deepen", "while first", "if first"),
        ),
        "unit/log/test_cold.py::test_those_who_need_little_and_much_of_the_past_at_once_are_each_given_all",
    ),
    (
        line(
            "deepen_any_window",
            "Who reads more of the past for a window that is used no more does it for all who come then.",
            *(View, "deepen", '(window, "past")', '(self.name, "past")'),
        ),
        "unit/log/test_cold.py::test_a_room_that_was_made_smaller_while_its_past_was_read_is_read_for_who_comes_then",
    ),
    (
        line(
            "let_the_held_leave_as_others_do",
            "A room with held streams leaves as soon as a room that nobody holds.",
            *(Rooms, "_line_up", "if room.name in self._held", "if False"),
        ),
        "unit/log/test_memory.py::test_a_flood_of_other_rooms_leaves_a_room_with_held_streams_in_memory",
    ),
    (
        line(
            "let_the_written_leave_as_others_do",
            "A room that was written to lately leaves as one that nobody uses, and its keys are read again.",
            *(Rooms, "_give_way", "or oldest.is_written", ""),
        ),
        "unit/log/test_memory.py::test_a_busy_server_whose_memory_is_full_reads_nothing_for_its_messages",
    ),
    (
        line(
            "answer_before_the_proxies_have_it",
            "A POST that the shortcut takes is answered before its message is with those who hold streams.",
            *(Chat, "_tell", "if self._hub.passes_on_at_once:", "if True:"),
        ),
        "unit/web/test_shortcut_posts.py::test_an_answer_waits_until_what_was_published_is_passed_on",
    ),
    (
        line(
            "wait_for_a_body_for_ever",
            "A client that ends in the middle of a body is looked at again and again.",
            *(Shortcut, "_serve", "plain is None and not begun and", "plain is None and"),
        ),
        "unit/web/test_shortcut_posts.py::test_a_client_that_ends_in_the_middle_of_a_body_is_not_waited_for",
    ),
    (
        line(
            "believe_any_recovery",
            "Where not everybody may read, who is no proxy recovers what is public without Tornado's 404.",
            *(HeldByProxy, "stream", "not way.proxied or not believed or", "not way.proxied or"),
        ),
        "unit/web/test_held_by_proxy.py"
        "::test_a_recovery_is_believed_only_where_everybody_may_read_or_a_proxy_has_signed_it",
    ),
    (
        line(
            "forget_when_a_recovery_was_asked_for",
            "A recovery without Tornado has nothing young, though the proxy had it before it asked.",
            *(HeldByProxy, "stream", ", time.monotonic()))", "))"),
        ),
        "unit/web/test_held_by_proxy.py"
        "::test_what_was_published_before_a_recovery_is_in_its_answer_however_young",
    ),
    (
        line(
            "answer_a_recovery_as_before",
            "An answer that ended in the wrong place, as clocks differ, ends there again, without end.",
            *(Recent, "take", "self.get(now, key)", "None"),
        ),
        "unit/hub/test_recoveries.py::test_a_stream_that_missed_something_catches_up_in_a_busy_room",
    ),
    (
        line(
            "ask_again_every_second",
            "What a recovery leaves to its publication is asked for after a second, though something always is.",
            *(Recoveries, "asks_soon", "return not flows or now - first < YOUNG_SECONDS", "return True"),
        ),
        "unit/hub/test_recoveries.py::test_a_busy_room_is_not_recovered_every_second",
    ),
    (
        line(
            "let_a_proxys_connection_pause",
            "After a refusal a proxy's connection is not looked at for seconds, whoever asks on it.",
            *(Shortcut, "_shed", "self.pause if self.pauses else self.wait_for", "self.pause"),
        ),
        "unit/web/test_shedding.py::test_a_proxys_connection_does_not_pause_since_others_come_on_it",
    ),
    (
        line(
            "let_nobody_leave_who_is_held",
            "Rooms with held streams fill memory without an end.",
            *(Rooms, "_let_leave", "self._give_way(self._bare, staying, self._leave)", "pass"),
        ),
        "unit/log/test_memory.py::test_rooms_with_held_streams_leave_when_nothing_else_is_left",
    ),
    (
        line(
            "count_no_empty_rooms",
            "A room without a message takes no memory.",
            *(Rooms, "_count", "ROOM_BYTES + ", ""),
        ),
        "unit/log/test_memory.py::test_rooms_without_a_message_fill_memory_too",
    ),
    (
        line(
            "keep_the_reach_of_what_was_shortened",
            "A window that was shortened says of the drafts that it let go of that they are new.",
            *(Window, "shortened", "short.keys = self.keys", "pass"),
        ),
        "unit/log/test_memory.py::test_a_shortened_window_says_of_no_draft_that_it_is_new",
    ),
    (
        line(
            "never_tell_that_nobody_is_there",
            "A room in which streams were held once counts as held for ever.",
            *(_Room, "_forget_if_empty", "self._hub.note_held(self.name, False)", "pass"),
        ),
        "unit/hub/test_local.py::test_the_log_is_told_when_a_room_has_its_first_stream_and_when_it_has_none",
    ),
    (
        line(
            "copy_over_another_log",
            "A room is copied into another log of that name.",
            *(copying, "_pass", "if not _erased(ours, theirs):", "if False:"),
        ),
        "system/test_moving.py::test_another_log_is_not_written_to_and_the_room_is_named",
    ),
    (
        line(
            "copy_without_a_look",
            "A copy is not compared with what was copied.",
            *(copying, "copy_room", "if not await _pass(", "if 0 <= await _pass("),
        ),
        "system/test_moving.py::test_a_put_that_is_lost_without_a_word_is_noticed",
    ),
    (
        line(
            "keep_what_was_erased",
            "What was erased since it was copied stays in the copy.",
            *(copying, "_pass", "elif theirs != ours:", "elif theirs.ids != ours.ids:"),
        ),
        "system/test_moving.py::test_what_was_erased_since_it_was_copied_is_erased_in_the_copy",
    ),
    (
        line(
            "import_as_if_from_the_first",
            "The ids before the first message that is imported are free.",
            *(importing, "commits", "if not begun and message.id > 1:", "if False:"),
        ),
        "system/test_moving.py::test_what_is_imported_fits_into_commits",
    ),
    (
        line(
            "forget_both_of_two",
            "A key leaves the window with the older of its messages.",
            *(
                Keys,
                "trim",
                "if self._newest[key] == id:",
                "if key in self._newest:",
            ),
        ),
        "unit/log/test_window.py::test_a_key_that_came_twice_stays_known_when_its_first_message_is_forgotten",
    ),
    (
        line(
            "give_hints_up",
            "A hint that is not taken for long is given up.",
            *(Publisher, "_deliver", "if post.items:", "if True:"),
        ),
        "unit/hub/test_pushpin_hub.py::test_a_hint_is_tried_until_it_is_taken_however_long_that_is",
    ),
    (
        line(
            "give_the_recovery_up",
            "A proxy that is away for long at the start is not asked to recover everybody.",
            *(Publisher, "_deliver", "(status and late)", "late"),
        ),
        "unit/hub/test_pushpin_hub.py::test_a_proxy_that_is_away_at_the_start_is_asked_to_recover_everybody_when_it_comes",
    ),
    (
        line(
            "give_all_up_for_one",
            "An item that the proxy refuses takes all of its POST with it.",
            *(Publisher, "_deliver", "if status in (400, 413) and len(post.items) > 1:", "if False:"),
        ),
        "unit/hub/test_pushpin_hub.py::test_an_item_that_the_proxy_refuses_takes_no_other_with_it",
    ),
    (
        line(
            "answer_before_the_proxy",
            "A POST is answered before a proxy has taken what it publishes.",
            *(PushpinHub, "passed_on", "if self.passes_on_at_once:", "if True:"),
        ),
        "unit/hub/test_pushpin_hub.py::test_an_answer_waits_until_every_proxy_has_taken_what_was_published",
    ),
    (
        line(
            "answer_before_it_is_passed_on",
            "A POST is answered before the hub has passed on what it publishes.",
            *(Chat, "post", "([stored])\n        await self._hub.passed_on()", "([stored])"),
        ),
        "unit/test_chat.py::test_a_post_that_fails_is_answered_when_its_retraction_is_passed_on",
    ),
    (
        line(
            "answer_before_the_hint",
            "A POST whose publication was given up is answered before the proxy has the hint.",
            *(Publisher, "_release", " and not self._making_up", ""),
        ),
        "unit/hub/test_pushpin_hub.py::test_an_answer_waits_for_the_hint_in_the_place_of_what_was_given_up",
    ),
    (
        line(
            "send_what_is_old",
            "What was published before the process was frozen is sent when it goes on.",
            *(Publisher, "_deliver", "if post.items and time", "if not post.items and time"),
        ),
        "unit/hub/test_pushpin_hub.py"
        "::test_what_was_published_before_the_process_was_frozen_is_made_up_for_and_not_sent",
    ),
    (
        line(
            "put_without_a_search",
            "A draft whose position is older than what is in memory is put at once.",
            *(Window, "covers", "self.keys.first <= since + 1", "True"),
        ),
        "unit/log/test_log_back.py::test_a_draft_with_a_position_is_recognised_after_thousands_of_messages",
    ),
    (
        line(
            "show_without_a_search",
            "A late repeat is shown as provisional before the log is searched for it.",
            *(
                MessageLog,
                "recall",
                "found = await self._rooms[draft.room].search(draft, searched)",
                "return draft",
            ),
        ),
        "unit/log/test_log_back.py::test_what_is_known_to_be_in_the_log_is_told_before_it_is_shown",
    ),
    (
        line(
            "keep_the_keys",
            "All calls are signed with the keys of the first one.",
            *(
                Direct,
                "_call",
                "keys = await self._credentials.get_frozen_credentials()",
                "keys = self.first = getattr(self, 'first', None) or await self._credentials.get_frozen_credentials()",
            ),
        ),
        "unit/storage/test_dynamodb_direct.py::test_each_put_is_signed_with_the_keys_of_its_time",
    ),
    (
        line(
            "take_any_answer",
            "A put is stored, whatever the table answers.",
            *(Direct, "_call", "if status != 200:", "if False:"),
        ),
        "contract/test_storage.py::test_each_fault_has_its_class_and_the_put_is_sent_once",
    ),
    (
        line(
            "believe_a_signature_for_ever",
            "A signature of a proxy that was right once is right for ever.",
            *(Verifier, "signed", "and now < self._until", ""),
        ),
        "unit/hub/test_pushpin_hub.py::test_a_signature_that_was_right_is_not_checked_again_for_a_second",
    ),
    (
        line(
            "believe_any_signature",
            "After one right signature, each other one is right for a second.",
            *(Verifier, "signed", "and signature == self._right", ""),
        ),
        "unit/hub/test_pushpin_hub.py::test_a_signature_that_was_right_is_not_checked_again_for_a_second",
    ),
    (
        line(
            "stay_at_an_address",
            "The address of a proxy is looked up once.",
            *(Resolver, "resolve", "time.monotonic() < until", "found"),
        ),
        "unit/hub/test_pushpin_hub.py::test_the_proxys_name_is_looked_up_again_after_ten_seconds_or_a_failure",
    ),
    *(
        (line(name, says, *what), f"unit/test_showing.py::{test}")
        for name, says, what, test in (
            (
                "retract_what_was_not_shown",
                "What a quick store refuses is retracted, though nobody has seen it.",
                (Patient, "_ended", "if waiting.shown and", "if"),
                "test_what_was_neither_shown_nor_stored_is_not_retracted",
            ),
            (
                "forget_to_retract",
                "What was shown because the store was slow stays when it is refused.",
                (Patient, "_show", "waiting.shown = True", "pass"),
                "test_what_was_shown_and_not_stored_is_retracted",
            ),
            (
                "retract_a_conflict",
                "A provisional id that stands for a stored message is retracted, when its text is another.",
                (showing, "_is_retracted", "not isinstance(failure, Conflict)", "True"),
                "test_a_conflict_retracts_nothing",
            ),
            (
                "patience_for_ever",
                "Nothing is shown before it is stored, however long that takes.",
                (Patient, "show", "+ PATIENCE", "+ 1000 * PATIENCE"),
                "test_a_draft_is_shown_when_the_store_has_not_answered_in_time",
            ),
            (
                "patience_each_time",
                "A store that is always slow is given time for every draft.",
                (Patient, "_lose_patience", "self._slow = True", "pass"),
                "test_behind_a_store_that_was_slow_the_last_time_a_draft_is_shown_at_once",
            ),
            (
                "no_patience_any_more",
                "A store that was slow once is given no time again.",
                (Patient, "_ended", "self._slow = False", "pass"),
                "test_a_store_that_is_quick_again_is_given_time_again",
            ),
            (
                "show_what_is_over",
                "A draft is shown though its end is known.",
                (Patient, "_ended", "del self._waiting[waiting]", "pass"),
                "test_what_is_stored_in_time_is_not_shown_before",
            ),
            (
                "show_behind_the_official",
                "A draft is shown in the turn in which it is stored, behind its official event.",
                (Patient, "_wake_at", "self._loop.call_soon, ", ""),
                "test_what_is_stored_in_the_turn_in_which_its_time_ends_is_not_shown_after_its_official_event",
            ),
        )
    ),
    (
        line(
            "settle_at_the_end",
            "A catch-up looks for its own drafts when all is folded in.",
            *(
                Room,
                "_learn",
                "and self._announce(commit, own, mine)",
                "and self._announce(commit, own, mine) < 0",
            ),
        ),
        "unit/log/test_log_back.py::test_a_put_that_was_applied_and_then_overtaken_by_hundreds_is_answered_without_a_search",
    ),
    (
        line(
            "forget_young_keys",
            "Keys are kept for 256 messages, however young.",
            *(Keys, "trim", "and self._order[5] < young", ""),
        ),
        "unit/log/test_window.py::test_the_keys_of_the_last_two_minutes_are_kept_however_many",
    ),
    (
        line(
            "trust_few_keys",
            "256 keys are enough, however young the oldest is.",
            *(Keys, "reach", "and self._order[2] < _young(now)", ""),
        ),
        "unit/log/test_log_back.py::test_without_a_position_a_draft_is_recognised_for_two_minutes_in_a_busy_room",
    ),
    (
        line(
            "sleep_is_no_time",
            "A tail is old by the loop's clock only.",
            *(View, "old", "or abs(wall_time - known_wall) > TAIL_SECONDS", ""),
        ),
        "unit/log/test_log_back.py::test_a_process_that_slept_does_not_put_at_a_place_that_has_been_freed",
    ),
    (
        line(
            "an_answer_is_always_new",
            "What the store answered is known from when it is looked at, however long it lay there.",
            *(View, "_load", "self.renewed(asked)", "self.renewed(self.clocks())"),
        ),
        "unit/log/test_log_back.py::test_an_answer_that_lay_there_while_the_machine_slept_is_old",
    ),
    (
        line(
            "a_room_is_never_ahead",
            "A hold that comes to a room that is ahead of the log asks for what follows, for ever.",
            *(_Room, "_attach", "if plan.position == position:", "if False:"),
        ),
        "unit/hub/test_local.py::test_a_hold_that_comes_to_a_room_that_is_ahead_of_the_log_waits_for_nobody_else",
    ),
    (
        line(
            "join_across_a_hole",
            "What is read before a window is put before it, though it does not join.",
            *(Window, "prepend", "commits[-1].last < below - 1", "False"),
        ),
        "unit/log/test_window.py::test_what_was_read_at_another_place_is_not_put_before_the_messages",
    ),
    (
        line(
            "a_room_has_no_weight",
            "What a room takes in memory is not counted.",
            *(Rooms, "_count", "room.window.bytes if room.window is not None else 0", "0"),
        ),
        "unit/log/test_log_back.py::test_all_rooms_together_keep_to_their_bytes_and_the_least_used_leaves",
    ),
    (
        line(
            "forget_the_position",
            "The client has no position after a reset, until a message follows.",
            *(
                Follower,
                "_reset",
                "self.position, self._last = position, None",
                "self.position = self._last = None",
            ),
        ),
        "unit/client/test_client.py::test_who_is_cut_off_between_a_reset_and_the_next_message_is_given_all_that_follows_or_another_reset",
    ),
    (
        line(
            "retract_for_everybody",
            "A retraction names no user: who sends what cannot be stored under another's id withdraws that.",
            *(streams, "provisional", "if draft.user is None", "if True"),
        ),
        "unit/test_streams.py::test_a_retraction_says_whose_message_it_is_where_there_is_a_user",
    ),
    (
        line(
            "retract_anybodys",
            "The client takes a retraction for all messages of that provisional id.",
            *(
                Follower,
                "_retract",
                "(key[0], key[2]) != meant",
                "key[2] != meant[1]",
            ),
        ),
        "unit/client/test_client.py::test_a_retraction_is_for_the_message_of_its_user",
    ),
    (
        line(
            "skip_ids",
            "The client takes a message that skips an id.",
            *(Follower, "_official", "message.id > self._last + 1", "message.id < 0"),
        ),
        "unit/client/test_client.py::test_an_event_that_cannot_be_right_ends_the_connection",
    ),
    (
        line(
            "go_on_where_it_was",
            "A new connection is taken for the one before: what it was asked for is not compared.",
            *(Follower, "connected", "self._last = self.position", "pass"),
        ),
        "unit/client/test_client.py::test_a_new_connection_is_held_to_the_position_that_was_asked_for",
    ),
]


PASSES = [
    (
        line(
            "a_pass_without_a_position",
            "A proxy that recovers a hold does not tell of its pass.",
            *(
                pushpin_module,
                "grip_headers",
                'f"{pass_.channel}; prev-id={pass_.position}"',
                "pass_.channel",
            ),
        ),
        "revoke grip",
    ),
    (
        line(
            "a_pass_never_expires",
            "What has expired is not asked about a hold.",
            *(Access, "ended", "pass_.expires <= now", "False"),
        ),
        "lapse",
    ),
    (
        line(
            "what_is_revoked_is_read_once",
            "The copy of what is revoked is never too old.",
            *(Keeper, "_is_newer_than", "self._read_at >= moment", "self._read_at > -math.inf"),
        ),
        "revoke",
    ),
    (
        line(
            "a_recovery_from_an_older_copy",
            "A proxy is answered from what was known of revocations a moment before it asked.",
            *(RecoveryHandler, "get", "fresh(0)", "fresh()"),
        ),
        "contract/test_revocations.py::test_a_poke_is_the_end_in_whichever_process_the_recovery_arrives",
    ),
    (
        line(
            "a_refusal_with_a_status",
            "A recovery of a hold without a right any more is 403: the proxy lets its client wait, and asks again.",
            *(RecoveryHandler, "_refuse", "self.set_headers(streams.STREAM_HEADERS)", "self.set_status(403)"),
        ),
        "contract/test_revocations.py::test_without_the_poke_the_next_recovery_is_the_end",
    ),
    (
        line(
            "a_key_that_left_is_believed",
            "A hold goes on with a token whose key is no key any more.",
            *(Access, "ended", " or not self._vouched(pass_, room)", ""),
        ),
        "rotate",
    ),
    (
        line(
            "a_link_is_not_forgotten",
            "The end of a pass is left to the link, which Pushpin 1.36 forgets of a client that did not read.",
            *(PushpinHub, "hold", "if pass_ is not None:", "if False:"),
        ),
        "lapse stall grip",
    ),
]


ALSO = {  # noticed by the simulation as well, where there is this fault
    "put_without_a_search": "again",
    "sleep_is_no_time": "asleep",
    "follow_a_log_without_its_beginning": "expire",
}


@dataclass(frozen=True)
class Mutation:
    """`noticed` is a mode, a fault, or both, or "" (of the simulation), or a test's id, or "log_rules"."""

    patch: Patch
    noticed: str = ""

    @property
    def name(self) -> str:
        return self.patch.__name__

    @property
    def by_simulation(self) -> bool:
        return set(self.noticed.split()) <= {"standalone", "grip", *FAULTS}

    def notice(self) -> str:
        """What notices it: a line, or "" if nothing does."""
        with pytest.MonkeyPatch.context() as patch:
            if self.by_simulation:
                self.patch(patch)
                report = first_failure(range(1, 1 + SEEDS), self.noticed)
                patch.undo()
                return _objection(report) if report else ""
            if self.noticed == "log_rules":
                self.patch(patch)
                return _violation()
            return self.noticed if _fails(self.noticed, self.patch) else ""


SHED = [
    (refused_are_answered, "test_who_is_refused"),
    (soon_forgotten, "test_who_is_refused"),
    (
        all_come_back_at_once,
        "test_what_is_asked_too_early_is_refused_when_the_pause_is_over_and_again_until_there_is_room",
    ),
    (one_pause_is_overload, "test_who_is_refused"),
    (
        no_room_for_anybody,
        "test_there_is_room_for_as_many_as_can_be_served_soon",
    ),
]
SHORTENED = [
    (gone_are_stored, "test_a_message_whose_client_has_gone_is_not_stored_unless_the_store_has_it"),
    (stored_is_withdrawn, "test_a_message_whose_client_has_gone_is_not_stored_unless_the_store_has_it"),
    (any_header, "test_what_the_shortcut_takes_tornado_would_have_answered_alike"),
    (any_origin, "test_what_the_shortcut_takes_tornado_would_have_answered_alike"),
    (any_access, "test_what_stands_against_a_plain_post_is_tornados_business"),
]

MUTATIONS = [
    Mutation(answer_below_grip_last, "grip"),
    Mutation(
        share_a_read_that_has_begun,
        "unit/log/test_log.py::test_without_memory_equal_readers_share_one_reading_that_began_after_they_asked",
    ),
    Mutation(prev_id_of_another_reading),
    Mutation(skip_what_is_too_much),
    Mutation(let_a_position_be_ahead),
    Mutation(replay_one_too_many),
    Mutation(reset_without_an_id),
    Mutation(reset_to_the_end),
    Mutation(show_and_forget),
    Mutation(answer_before_it_is_stored),
    Mutation(
        forget_what_was_given_up,
        "unit/log/test_log.py::test_after_the_deadline_the_draft_is_refused_and_published_if_it_is_found_in_the_log",
    ),
    Mutation(believe_the_window),
    Mutation(take_what_was_submitted_for_stored, "standalone"),
    Mutation(forget_what_was_submitted, "standalone"),
    Mutation(a_second_process_is_alone, "standalone"),
    Mutation(a_shared_store_is_read_from_memory, "standalone"),
    Mutation(a_recovery_is_always_in_time, "standalone"),
    Mutation(owe_nothing, "standalone"),
    Mutation(count_what_was_not_sent, "standalone"),
    Mutation(never_cut, "standalone"),
    Mutation(skip_to_the_end, "standalone"),
    Mutation(local_rules.deliver_whatever_the_prev_id, "standalone"),
    Mutation(local_rules.attach_whatever_the_position, "standalone"),
    Mutation(local_rules.ignore_gaps, "standalone"),
    Mutation(show_what_was_cleared, "clear"),
    Mutation(clear_twice, "clear"),
    Mutation(a_recovery_is_never_ahead, "restored"),
    Mutation(retract_at_the_first_proxy, "two"),
    Mutation(the_id_of_a_reset_by_count, "large"),
    Mutation(wait_two_minutes, "grip"),
    Mutation(prev_id_unchecked, "grip"),
    Mutation(log_rules.forget_the_user, "forge"),
    *(Mutation(patch, noticed) for patch, noticed in PASSES),
    Mutation(
        log_rules.forget_the_user,
        "unit/log/test_log.py::test_a_forged_provisional_id_is_no_conflict_for_the_author_and_a_message_of_its_own",
    ),
    Mutation(
        give_up_in_silence,
        "unit/hub/test_pushpin_hub.py::test_what_is_given_up_is_made_up_for_by_a_hint_before_anything_else",
    ),
    Mutation(
        start_in_silence,
        "unit/hub/test_pushpin_hub.py::test_the_first_thing_is_the_request_to_recover_everybody",
    ),
    Mutation(try_once, "unit/hub/test_pushpin_hub.py::test_the_same_batch_is_tried_again"),
    Mutation(
        the_newest_first,
        "unit/hub/test_pushpin_hub.py::test_items_go_in_order_in_batches_with_one_post_in_flight",
    ),
    Mutation(read_as_it_comes, "contract/test_storage.py::test_every_read_is_consistent"),
    Mutation(
        read_past_the_position,
        "unit/storage/test_read_units.py::test_a_reading_is_the_same_however_its_pages_fall",
    ),
    Mutation(
        look_at_all_places,
        "unit/storage/test_read_units.py::test_a_reading_looks_at_little_more_than_what_is_asked_for",
    ),
    Mutation(
        miss_the_first_place,
        "unit/storage/test_read_units.py::test_a_reading_looks_at_little_more_than_what_is_asked_for",
    ),
    Mutation(
        overtake_puts, "contract/test_storage.py::test_a_read_does_not_overtake_a_put_that_was_given_up"
    ),
    Mutation(
        a_hole_is_the_end,
        "contract/test_storage.py::test_a_reading_never_takes_a_hole_for_the_end_of_the_log",
    ),
    Mutation(any_size, "unit/log/test_log.py::test_a_commit_stays_within_its_bytes"),
    *(Mutation(patch, f"unit/web/test_shedding.py::{test}") for patch, test in SHED),
    *(Mutation(patch, f"unit/web/test_shortcut_posts.py::{test}") for patch, test in SHORTENED),
    *(Mutation(patch, "log_rules") for patch in log_rules.MUTATIONS),
    *(Mutation(patch, noticed) for patch, noticed in LINES),
    *(Mutation(line(*rule), noticed) for rule, noticed in removal_rules.RULES),
    *(
        Mutation(line(*rule), "remove")
        for rule, _ in removal_rules.RULES
        if rule[0] in removal_rules.SIMULATED
    ),
    *(Mutation(patch, fault) for patch, _ in LINES for name, fault in ALSO.items() if patch.__name__ == name),
    *(Mutation(patch, f"unit/hub/test_local.py::{test}") for patch, test in local_rules.MUTATIONS),
]


def _objection(report: Report) -> str:
    """What the judge had to say; nothing, if the mutant did not even run, or if it says so of the original."""
    seed = report.scenario.seed
    crashes = ("unexpected: TypeError", "unexpected: AttributeError", "unexpected: NameError")
    violations = [line for line in report.broken if not line.startswith(crashes)]
    if len(violations) < len(report.broken) or first_failure([seed]) is not None:
        return ""
    return f"seed {seed}: {violations[0]}"


def _violation() -> str:
    try:
        asyncio.run(log_rules.conversations())
    except log_rules.Violation as violation:
        return f"log_rules: {violation}"[:100]
    return ""


class _Mutated:
    """A pytest plugin: the test runs under the mutation."""

    def __init__(self, patch: Patch) -> None:
        self._mutate = patch

    @pytest.fixture(autouse=True)
    def _mutation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._mutate(monkeypatch)
        monkeypatch.setattr("tests.support.served.WAIT", 0.5)


def _fails(test: str, patch: Patch) -> bool:
    """Whether the test fails, and not for another reason: it must pass without the mutation."""
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"tests/{test}"]
    # The tests are imported already, and a failure leaves much open.
    for warning in ("AssertRewrite", "UnraisableException"):
        arguments += ["-W", f"ignore::pytest.Pytest{warning}Warning"]
    silence = io.StringIO()
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        outcomes = [pytest.main(arguments), pytest.main(arguments, plugins=[_Mutated(patch)])]
    return outcomes == [pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED]


def main() -> int:
    parser = argparse.ArgumentParser(description="Switches every rule off, and says what notices.")
    parser.add_argument("names", nargs="*", help="of mutations; all, if there are none")
    names = parser.parse_args().names
    escaped = []
    logging.disable(logging.CRITICAL)
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        began = time.monotonic()
        noticed = mutation.notice()
        if not noticed:
            escaped.append(mutation.name)
        said = (mutation.patch.__doc__ or mutation.name).strip().partition("\n")[0]
        print(
            f"{'caught ' if noticed else 'ESCAPED'} {mutation.name} ({time.monotonic() - began:.1f} s): {said}"
        )
        print(f"        {noticed or 'nothing noticed'}"[:160], flush=True)
    print(f"{len(escaped)} escaped" + "".join(f", {name}" for name in escaped))
    return bool(escaped)


if __name__ == "__main__":
    sys.exit(main())
