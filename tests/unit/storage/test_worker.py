"""The thread of a store: what goes first, who is given up, and when the store is dead. The clock is the test's."""

import asyncio
import threading
import time

import pytest

from flychat.storage import PUT_SECONDS, READ_SECONDS, Broken, Taken, Unknown, worker
from flychat.storage.worker import CHECK, IDLE, IDLE_SECONDS, READING, TOGETHER, Question, Worker

gen_test = pytest.mark.gen_test


@pytest.fixture
def patient_disk():
    """Its seconds are the subject here."""


class Stage:
    """A Worker, and the order in which it does what it is asked for.

    Its puts fail if they are "taken", and its questions if they are of what is "damaged".
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.seconds = 0.0  # that a statement takes
        self.done: list[object] = []
        self.worker = Worker(self._store, self._find)
        self.held, self.go = threading.Event(), threading.Event()

    def _store(self, items):
        self.done.append(items)
        return [Taken() if item == "taken" else None for item in items]

    def _find(self, questions):
        self.done.append([value for question in questions for value in question.values])
        self.now += self.seconds
        return [Broken("a row") if "damaged" in each.values else f"{each.values[0]}!" for each in questions]

    def ask(self, value, kind="above"):
        return self.worker.ask(Question(kind, (value,)))

    async def warm(self):
        """From now on as many questions are asked at once as ever."""
        while self.worker._together < TOGETHER:
            await self.ask("quick")
        self.done.clear()

    def job(self, name, parts=1, seconds=0.0):
        """Every part takes so many seconds."""
        for part in range(parts):
            self.done.append((name, part) if parts > 1 else name)
            self.now += seconds
            yield
        return name

    def holding(self):
        """A job that keeps the thread busy until `go`."""
        self.held.set()
        self.go.wait()
        yield

    async def hold(self, rank=CHECK) -> asyncio.Task:
        self.held.clear()
        self.go.clear()
        task = asyncio.create_task(self.worker.do(self.holding(), rank))
        await asyncio.to_thread(self.held.wait)
        return task

    async def goes_on(self) -> None:
        """Returns when the thread has: until then the store is as dead as before."""
        self.go.set()
        while self.worker._due is not None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)

    async def asked(self, *calls) -> list[asyncio.Task]:
        """Tasks that wait for their turn, in this order."""
        tasks = [asyncio.create_task(call) for call in calls]
        for _ in range(3):
            await asyncio.sleep(0)
        return tasks


@pytest.fixture
def stage(io_loop, monkeypatch):
    async def made():
        return Stage()

    stage = io_loop.run_sync(made)
    monkeypatch.setattr(worker, "monotonic", lambda: stage.now)
    monkeypatch.setattr(worker, "WATCH_SECONDS", 0.01)
    yield stage
    stage.go.set()
    if not stage.worker._closed:
        io_loop.run_sync(lambda: stage.worker.close(stage.job("closed")))
    assert not stage.worker._waiting | stage.worker._untold, "nothing is kept of those who waited"


@gen_test
async def test_puts_go_first_then_checks_then_readings_in_their_order_then_what_can_wait(stage):
    first, do, put = await stage.hold(), stage.worker.do, stage.worker.put
    tasks = await stage.asked(
        do(stage.job("sweep"), IDLE),
        do(stage.job("one")),
        do(stage.job("two"), READING),
        do(stage.job("check"), CHECK),
        put("a"),
        put("b"),
    )
    stage.go.set()
    assert await asyncio.gather(*tasks) == ["sweep", "one", "two", "check", None, None]
    await first
    assert stage.done == [["a", "b"], "check", "one", "two", "sweep"]


@gen_test
async def test_questions_of_one_kind_are_asked_at_once_in_the_order_of_all_readings(stage):
    await stage.warm()
    first, ask = await stage.hold(), stage.ask
    tasks = await stage.asked(
        ask("a"), ask("b"), ask("c", "below"), stage.worker.do(stage.job("job")), ask("d"), ask("e")
    )
    stage.go.set()
    assert await asyncio.gather(*tasks) == ["a!", "b!", "c!", "job", "d!", "e!"]
    await first
    assert stage.done == [["a", "b"], ["c"], "job", ["d", "e"]]


@gen_test
async def test_a_put_waits_for_so_many_questions_as_are_quick(stage):
    names = [str(n) for n in range(3 * TOGETHER)]
    for seconds, sizes in ((0.0, [1, 2, 4, 8, 8, 1]), (0.01, [8, *[1] * 16])):
        stage.seconds = seconds
        stage.done.clear()
        first = await stage.hold()
        tasks = await stage.asked(*map(stage.ask, names))
        stage.go.set()
        await asyncio.gather(first, *tasks)
        assert [len(names) for names in stage.done] == sizes
        assert [name for asked in stage.done for name in asked] == names


@gen_test
async def test_a_question_is_asked_for_nobody_who_has_gone_and_one_that_fails_fails_alone(stage):
    await stage.warm()
    first = await stage.hold()
    gone, *tasks = await stage.asked(*map(stage.ask, ("gone", "a", "damaged", "b")))
    gone.cancel()
    await asyncio.wait([gone])
    alone = await stage.asked(stage.ask("left", "below"))
    alone[0].cancel()
    await asyncio.wait(alone)
    stage.go.set()
    a, damaged, b = tasks
    with pytest.raises(Broken):  # raised, and not returned
        await damaged
    assert (await a, await b) == ("a!", "b!")
    await first
    assert stage.done == [["a", "damaged", "b"]]


@gen_test
async def test_a_job_that_fails_tells_who_asked_and_the_next_one_is_done(stage):
    def fails():
        yield
        raise Broken("a row")

    first, do = await stage.hold(), stage.worker.do
    tasks = await stage.asked(do(fails()), do(stage.job("next")))
    stage.go.set()
    failed, done = await asyncio.gather(*tasks, return_exceptions=True)
    await first
    assert (type(failed), done) == (Broken, "next")


@gen_test
async def test_who_goes_while_the_answer_is_on_its_way_is_not_the_harm_of_others(stage):
    def ends():
        yield from ()
        stage.held.set()
        stage.go.wait()
        return "too late"

    gone = asyncio.create_task(stage.worker.do(ends()))
    await asyncio.to_thread(stage.held.wait)
    [other] = await stage.asked(stage.worker.do(stage.job("other")))
    gone.cancel()
    await asyncio.wait([gone])
    stage.go.set()
    assert await asyncio.wait_for(other, 60) == "other"


@gen_test
async def test_a_put_passes_between_the_parts_of_a_job(stage):
    for rank in (READING, IDLE):
        stage.done.clear()

        def job():
            stage.done.append("a part")
            stage.held.set()
            stage.go.wait()
            yield
            stage.done.append("another")
            yield

        stage.held.clear()
        stage.go.clear()
        task = asyncio.create_task(stage.worker.do(job(), rank))
        await asyncio.to_thread(stage.held.wait)
        put = await stage.asked(stage.worker.put("put"))
        stage.go.set()
        await asyncio.gather(task, *put)
        assert stage.done == ["a part", ["put"], "another"]


@gen_test
async def test_other_readings_pass_between_the_parts_of_a_long_one(stage):
    """A search of a long log took half a second, in which no room was read."""
    first, do = await stage.hold(), stage.worker.do
    tasks = await stage.asked(
        do(stage.job("search", 3)), stage.ask("a"), do(stage.job("check", 2)), stage.ask("b")
    )
    stage.go.set()
    assert await asyncio.gather(*tasks) == ["search", "a!", "check", "b!"]
    await first
    assert stage.done.index(["a"]) < stage.done.index(("search", 1))
    assert stage.done.index(["b"]) < stage.done.index(("search", 2))
    assert stage.done.index(("check", 0)) < stage.done.index(("search", 1))


@gen_test
async def test_the_puts_of_one_turn_of_the_loop_go_together(stage):
    outcomes = await asyncio.gather(
        *(stage.worker.put(item) for item in ("a", "taken", "b")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Taken, type(None)]
    assert stage.done == [["a", "taken", "b"]]


@gen_test
async def test_what_is_read_within_a_millisecond_wakes_the_loop_once(stage, monkeypatch):
    first, loop, woken = await stage.hold(), asyncio.get_running_loop(), []
    call_soon_threadsafe = loop.call_soon_threadsafe

    def counted(call, answers):
        woken.append(len(answers))
        call_soon_threadsafe(call, answers)

    def short(number):
        stage.now += number * 0.002
        return number
        yield

    tasks = await stage.asked(*(stage.worker.do(short(number)) for number in range(4)))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", counted)
        stage.go.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]
    assert woken == [3, 1, 1], "the first two with the one that held the thread"
    await first


@gen_test
async def test_a_put_is_answered_at_once_whatever_is_to_be_read(stage):
    first, endless = await stage.hold(), threading.Event()

    def reading():
        endless.wait()
        yield

    put, read = await stage.asked(stage.worker.put("put"), stage.worker.do(reading()))
    stage.go.set()
    try:
        await put
        assert not read.done()
    finally:
        endless.set()
    await asyncio.gather(first, read)


@gen_test
async def test_a_job_that_was_given_up_does_not_run_on_but_a_put_is_stored(stage):
    ended = []

    def job():
        try:
            yield from stage.holding()
            stage.done.append("ran on")
        finally:
            ended.append(True)

    running = asyncio.create_task(stage.worker.do(job()))
    await asyncio.to_thread(stage.held.wait)
    waiting = await stage.asked(stage.worker.do(stage.job("never")), stage.worker.put("put"))
    for task in (running, *waiting):
        task.cancel()
    await asyncio.wait([running, *waiting])
    stage.go.set()
    assert await stage.worker.do(stage.job("next")) == "next"
    assert stage.done == [["put"], "next"]
    assert ended


@gen_test
async def test_who_waits_in_a_queue_does_not_take_it_for_a_dead_store(stage):
    began = stage.now
    jobs = [stage.worker.do(stage.job(n, parts=3, seconds=READ_SECONDS / 2)) for n in range(20)]
    assert await asyncio.gather(*jobs, stage.worker.put("put")) == [*range(20), None]
    assert stage.now - began > 10 * READ_SECONDS


@gen_test
async def test_nor_does_a_busy_loop(stage):
    """It hears the answer late, which came in time."""
    job = stage.worker.do(stage.job("job", seconds=1.0))
    task = asyncio.create_task(job)
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it has begun, as soon as the thread is woken
    while not stage.done:
        time.sleep(0.001)  # noqa: ASYNC251 - the loop is busy
    stage.now += 100 * READ_SECONDS
    time.sleep(0.05)  # noqa: ASYNC251 - the watch is overdue
    assert await task == "job"


@pytest.mark.parametrize("seconds", [READ_SECONDS, IDLE_SECONDS, PUT_SECONDS])
@gen_test
async def test_all_who_wait_are_told_when_the_store_does_not_answer(stage, seconds):
    if seconds != PUT_SECONDS:
        first = await stage.hold(IDLE if seconds == IDLE_SECONDS else CHECK)
    else:
        stage._store, stage.worker._store = None, lambda items: next(stage.holding()) or [None] * len(items)
        first = asyncio.create_task(stage.worker.put("put"))
        await asyncio.to_thread(stage.held.wait)
    waiting = [first, *await stage.asked(stage.worker.do(stage.job("read")), stage.worker.put("lost"))]
    stage.now += seconds - 0.1
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waiting)
    stage.now += 0.2
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
    stage.worker._store = lambda items: [stage.done.append(items)] * len(items)
    await stage.goes_on()
    await stage.worker.put("later")
    assert stage.done == [["later"]], "those who were told try again by themselves"


@gen_test
async def test_nothing_is_queued_for_a_store_that_does_not_answer(stage):
    """It may hang for hours, and each who asks would leave something in the queue of its thread."""
    first = await stage.hold()
    stage.now += READ_SECONDS + 0.1
    with pytest.raises(Unknown):
        await first
    for _ in range(3):
        for call in (stage.ask("x"), stage.worker.do(stage.job("read")), stage.worker.put("put")):
            with pytest.raises(Unknown):
                await call
    assert (len(stage.worker._puts), [len(jobs) for jobs in stage.worker._jobs]) == (0, [1, 0, 0])
    await stage.goes_on()
    assert await stage.ask("x") == "x!"


@pytest.mark.parametrize("what", ["a put", "a reading"])
@gen_test
async def test_a_store_is_watched_as_long_as_anybody_waits_for_it(stage, monkeypatch, what):
    watched, watch = [], stage.worker._watch
    monkeypatch.setattr(stage.worker, "_watch", lambda: watched.append(stage.worker._watching) or watch())
    if what == "a put":
        stage.worker._store = lambda items: next(stage.holding()) or [None] * len(items)
        waiting = asyncio.create_task(stage.worker.put("put"))
        await asyncio.to_thread(stage.held.wait)
    else:
        waiting = await stage.hold()
    while len(watched) < 3:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)
    stage.now += PUT_SECONDS + 0.1
    with pytest.raises(Unknown):
        await waiting
    await stage.goes_on()
    await stage.worker.put("next")
    while stage.worker._watching:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)
    assert all(watched)


@gen_test
async def test_one_watch_is_enough_for_all(stage, monkeypatch):
    loop, begun = asyncio.get_running_loop(), []
    call_later = loop.call_later

    def counted(delay, call, *values):
        begun.append(call == stage.worker._watch)
        return call_later(delay, call, *values)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_later", counted)
        waiting = [asyncio.ensure_future(stage.worker.put(n)) for n in range(9)]
        waiting += [asyncio.ensure_future(stage.worker.do(stage.job(n))) for n in range(9)]
        await asyncio.sleep(0)
    assert sum(begun) == 1
    await asyncio.gather(*waiting)


@gen_test
async def test_who_put_something_is_told_once_of_it_though_the_store_answers_after_all(stage):
    told, outcome = [], asyncio.get_running_loop().create_future()
    stage.worker._store = lambda items: next(stage.holding()) or [None] * len(items)
    stage.worker.submit("put", lambda failure: told.append(failure) or outcome.set_result(failure))
    await asyncio.to_thread(stage.held.wait)
    stage.now += PUT_SECONDS + 0.1
    assert type(await outcome) is Unknown
    await stage.goes_on()
    await stage.worker.put("next")
    assert len(told) == 1


@gen_test
async def test_closing_ends_what_was_asked_for_and_gives_up_what_can_wait(stage):
    first = await stage.hold()
    tasks = await stage.asked(
        stage.worker.do(stage.job("sweep"), IDLE), stage.worker.do(stage.job("read")), stage.worker.put("put")
    )
    closing = await stage.asked(stage.worker.close(stage.job("last")))
    stage.go.set()
    outcomes = await asyncio.gather(*tasks, *closing, first, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unknown, str, type(None), type(None), type(None)]
    assert stage.done == [["put"], "read", "last"]
    assert not stage.worker._thread.is_alive()
    for late in (stage.worker.put("late"), stage.worker.do(stage.job("late"))):
        with pytest.raises(RuntimeError):
            await late


@gen_test
async def test_the_thread_goes_on_while_what_can_wait_is_given_up(stage, monkeypatch):
    first = await stage.hold()
    tasks = await stage.asked(*(stage.worker.do(stage.job(name), IDLE) for name in ("one", "two")))
    settle = worker._settle

    def slow(*values):
        monkeypatch.setattr(worker, "_settle", settle)
        settle(*values)
        stage.go.set()
        while stage.worker._jobs[IDLE]:
            time.sleep(0.001)

    monkeypatch.setattr(worker, "_settle", slow)
    await stage.worker.close(stage.job("last"))
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), Unknown, Unknown]


@gen_test
async def test_closing_does_not_wait_for_a_disk_that_hangs(stage):
    first = await stage.hold()
    closing = asyncio.create_task(stage.worker.close(stage.job("last")))
    await asyncio.sleep(0)
    stage.now += READ_SECONDS + 0.1
    await closing
    with pytest.raises(Unknown):
        await first


@gen_test
async def test_without_a_thread_it_works_in_the_turns_of_the_loop_and_puts_pass_between_parts():
    done: list[object] = []

    def store(items):
        done.append(items)
        return [Taken() if item == "taken" else None for item in items]

    def job():
        for part in range(3):
            done.append((part, threading.current_thread()))
            if part == 0:
                worker_.submit("meanwhile", told.append)
            yield
        return "the end"

    told: list[object] = []
    one, two = Question("above", ("one",)), Question("above", ("two",))
    worker_ = Worker(store, lambda questions: [done.append(questions)], threaded=False)
    outcomes = await asyncio.gather(
        worker_.do(job()), worker_.put("a"), worker_.put("taken"), return_exceptions=True
    )
    here = threading.current_thread()
    assert done == [["a", "taken"], (0, here), ["meanwhile"], (1, here), (2, here)]
    assert (outcomes[:2], type(outcomes[2])) == (["the end", None], Taken)
    assert told == [None]
    await asyncio.gather(worker_.ask(one), worker_.ask(two))
    assert done[-2:] == [[one], [two]], "one at a time: there is no other thread to wait for"

    def last():
        done.append("closed")
        yield

    await worker_.close(last())
    assert done[-1] == "closed"
    with pytest.raises(RuntimeError):
        worker_.submit("late", told.append)


@gen_test
@pytest.mark.parametrize(("seconds", "turns"), [(0.0, {0}), (0.002, {0, 1, 2})])
async def test_without_a_thread_what_is_short_is_done_in_one_turn_and_the_rest_in_more(
    seconds, turns, monkeypatch
):
    loop, now, turn, seen = asyncio.get_running_loop(), [0.0], [-1], set()
    monkeypatch.setattr(worker, "monotonic", lambda: now[0])

    def job():
        seen.add(turn[0])
        now[0] += seconds
        return
        yield

    def count():
        turn[0] += 1
        loop.call_soon(count)

    worker_ = Worker(lambda items: [], lambda questions: [], threaded=False)
    loop.call_soon(count)
    await asyncio.gather(*(worker_.do(job()) for _ in range(3)))
    first = min(seen)
    assert {each - first for each in seen} == turns
    await worker_.close(job())
