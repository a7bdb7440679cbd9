"""The work of a store, in a thread or in turns of the loop: puts first, then readings, then what can wait.

- A job is a generator that does its work in parts. More urgent work goes between two parts, so a put waits
  for one part at the most; and so does other work of its rank: a search of 100,000 messages stops no reading.
- All puts of one turn of the loop, of whatever rooms, are handed to the thread together. So a put costs
  neither a task nor a thread switch of its own. Its answer is handed back at once; the answers of readings
  are collected while there is more to read, for TOGETHER_SECONDS at the most.
- Questions of one kind that follow each other in the queue are asked in one statement, TOGETHER of them at
  the most. After a statement that took longer than PART_SECONDS the next one has a single question, then two,
  then four ...
- A store in memory needs no thread: it works in the loop, in each turn for TOGETHER_SECONDS or for one part
  of a job, whichever is longer.
- A job whose caller has gone is given up. A put is not: its caller may look for it in the log later.
- If one part of a job takes too long, the store is taken for dead: all who wait, or come before it has ended,
  get Unknown. The time for which a job waits for its turn, or its answer for a busy loop, does not count.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from . import PUT_SECONDS, READ_SECONDS, StoreFailed, Unknown

T = TypeVar("T")
Item = TypeVar("Item")
Job: TypeAlias = Generator[None, None, T]
Done: TypeAlias = Callable[[StoreFailed | None], None]
Answer: TypeAlias = str | StoreFailed | None

CHECK, READING, IDLE = range(3)  # ranks of jobs, the most urgent first
PART_SECONDS = 0.005  # how long a part of a job should take
IDLE_SECONDS = 10.0  # after which a part of an idle job takes too long: it may write much
TOGETHER = 8  # questions: with 16, live messages are a third later after a restart
WATCH_SECONDS = 0.25  # between two looks at how long the part under way has taken
TOGETHER_SECONDS = 0.001  # to hand over each answer by itself would cost a third of a short reading


class Question(NamedTuple):
    """A short reading, which goes on together with others of its kind."""

    kind: str
    values: tuple[str | int, ...]


@dataclass(eq=False)
class _Queued:
    job: Job[Any] | Question
    future: asyncio.Future[Any]  # of the one who waits for it


@dataclass(eq=False)
class _Put(Generic[Item]):
    item: Item
    done: Done
    told: bool = False

    def tell(self, error: StoreFailed | None) -> None:
        if not self.told:
            self.told = True
            self.done(error)


class Part:
    """The part of a job that is under way: `over` says when it is time for the next one."""

    def __init__(self) -> None:
        self._end = monotonic() + PART_SECONDS

    @property
    def over(self) -> bool:
        return monotonic() > self._end


class Worker(Generic[Item]):
    """`store` is called with all items that were put, and says what became of each.

    `find` is called with questions of one kind, and answers each.
    """

    def __init__(
        self,
        store: Callable[[list[Item]], list[StoreFailed | None]],
        find: Callable[[list[Question]], list[Answer]],
        *,
        threaded: bool = True,
    ) -> None:
        self._store, self._find = store, find
        self._together, self._most = 1, TOGETHER if threaded else 1  # questions in the next statement
        self._loop = asyncio.get_running_loop()
        self._puts: deque[_Put[Item]] = deque()
        self._untold: set[_Put[Item]] = set()  # those whose `done` is yet to be called
        self._jobs: tuple[deque[_Queued], ...] = (deque(), deque(), deque())  # by rank
        self._bell: SimpleQueue[bool] = SimpleQueue()  # True: there is something to do. False: end
        self._ringing = False
        self._answers: list[Callable[[], None]] = []  # of the thread, which the loop has not been given yet
        self._due: float | None = None  # when the part under way should have ended
        self._overdue: float | None = None  # the same, of a part that was taken for dead
        self._waiting: set[asyncio.Future[Any]] = set()
        self._watching = False
        self._closed = False
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._work, name="store", daemon=True)
            self._thread.start()

    def submit(self, item: Item, done: Done) -> None:
        """Has the item put, and `done` called, later, with what `store` says, or Unknown. Raises Unknown."""
        self._check_open()
        put = _Put(item, done)
        self._puts.append(put)
        self._untold.add(put)
        self._ring()
        self._watch_over()

    async def put(self, item: Item) -> None:
        """Raises what `store` says of it, or Unknown. It is stored even if this is cancelled."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.submit(item, partial(_settle, future))
        await future

    async def ask(self, question: Question) -> str | None:
        """The answer; raises it if it is a failure, or Unknown if the store does not answer."""
        answer: str | None = await self._asked(question, READING)
        return answer

    async def do(self, job: Job[T], rank: int = READING) -> T:
        """What the job returns or raises; Unknown if the store does not answer."""
        result: T = await self._asked(job, rank)
        return result

    async def _asked(self, job: Job[Any] | Question, rank: int) -> Any:
        self._check_open()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs[rank].append(_Queued(job, future))
        self._ring()
        self._waiting.add(future)
        self._watch_over()
        try:
            return await future
        finally:
            self._waiting.discard(future)

    async def close(self, last: Job[None]) -> None:
        """Does all that was asked for, except idle jobs, which are given up; then `last`; then ends."""
        for asked in tuple(self._jobs[IDLE]):  # a copy: the thread takes from these meanwhile
            _settle(asked.future, Unknown("the store is being closed"))
        try:
            await self.do(last, IDLE)
        except Unknown:  # the disk hangs, and the thread with it
            return
        finally:
            self._closed = True
            self._bell.put(False)
        if self._thread is not None:
            self._thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the store is closed")
        if self._due is not None and self._due == self._overdue:  # a queue would grow until it ends, if ever
            raise Unknown("the disk does not answer")

    def _ring(self) -> None:
        if not self._ringing:
            self._ringing = True
            self._loop.call_soon(self._rung)

    def _rung(self) -> None:
        self._ringing = False
        if self._thread is not None:
            return self._bell.put(True)
        ends = monotonic() + TOGETHER_SECONDS
        while self._do_next():
            if monotonic() > ends:
                return self._ring()
        return None

    def _watch_over(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.call_later(WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        due = self._due
        if due is not None and monotonic() > due:
            self._overdue = due
            for future in self._waiting:
                _settle(future, Unknown("the disk does not answer"))
            silent, self._untold = self._untold, set()
            for put in silent:
                put.tell(Unknown("the disk does not answer"))
        self._watching = bool(self._waiting or self._untold)
        if self._watching:
            self._loop.call_later(WATCH_SECONDS, self._watch)

    def _stored(self, put: _Put[Item], error: StoreFailed | None) -> None:
        self._untold.discard(put)
        put.tell(error)

    # In the thread, or in a turn of the loop

    def _work(self) -> None:
        while self._bell.get():
            since = monotonic()
            while self._do_next():
                if (now := monotonic()) - since > TOGETHER_SECONDS:
                    since = now
                    self._hand_over()
            self._hand_over()

    def _do_next(self) -> bool:
        """Does what is most urgent; False if there is nothing to do."""
        if self._puts:
            self._due = monotonic() + PUT_SECONDS
            self._put()
        elif (rank := next((rank for rank, jobs in enumerate(self._jobs) if jobs), None)) is not None:
            self._due = monotonic() + (IDLE_SECONDS if rank == IDLE else READ_SECONDS)
            self._go_on(self._jobs[rank])
        else:
            return False
        self._due = None
        return True

    def _put(self) -> None:
        puts = [self._puts.popleft() for _ in range(len(self._puts))]
        puts = [put for put in puts if not put.told]  # the callers that got Unknown try again
        if puts:
            failures = self._store([put.item for put in puts])
            self._answer(*(partial(self._stored, *each) for each in zip(puts, failures, strict=True)))
            self._hand_over()

    def _go_on(self, jobs: deque[_Queued]) -> None:
        job, future = jobs[0].job, jobs[0].future
        if isinstance(job, Question):
            return self._ask(jobs, job.kind)
        try:
            if future.done():
                job.close()
            else:
                next(job)
                return jobs.rotate(-1)
        except StopIteration as end:
            self._answer(partial(_settle, future, end.value))
        except Exception as error:
            self._answer(partial(_settle, future, error))
        jobs.popleft()
        return None

    def _ask(self, jobs: deque[_Queued], kind: str) -> None:
        """Asks the first questions in the queue that are of one kind, except those nobody waits for."""
        asked: dict[asyncio.Future[Any], Question] = {}
        while jobs and len(asked) < self._together:
            job, future = jobs[0].job, jobs[0].future
            if not (isinstance(job, Question) and job.kind == kind):
                break
            if not future.done():
                asked[future] = job
            jobs.popleft()
        if asked:
            part = Part()
            answers = self._find(list(asked.values()))
            self._answer(*(partial(_settle, *each) for each in zip(asked, answers, strict=True)))
            self._together = 1 if part.over else min(2 * self._together, self._most)

    def _answer(self, *tell: Callable[[], None]) -> None:
        if self._thread is None:
            _tell_all(tell)
        else:
            self._answers += tell

    def _hand_over(self) -> None:
        if self._answers:
            answers, self._answers = self._answers, []
            with suppress(RuntimeError):  # the loop is closed, and nobody there to hear it
                self._loop.call_soon_threadsafe(_tell_all, answers)


def _tell_all(tell: Sequence[Callable[[], None]]) -> None:
    for each in tell:
        each()


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    """Tells who waits, unless that was given up: a result, or an error, which is raised there."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
