// When a stream is opened, and opened again.

import assert from "node:assert/strict";
import test from "node:test";

import { delay, open } from "./opened.mjs";
import { Source } from "./source.mjs";

test("it is asked for from the position of that moment", (t) => {
  const { clock, place, stream } = open(t, 7);
  assert.equal(Source.last.url, "/rooms/tea/messages/?lastEventId=7");
  place.position = 9;
  delay(clock);
  assert.equal(Source.last.url, "/rooms/tea/messages/?lastEventId=9");
  stream.close();
});

test("its news are told in their order", (t) => {
  const { clock, news } = open(t);
  Source.last.say("stream-open");
  Source.last.say("message", '{"id":1}', "1");
  Source.last.onerror();
  clock.chance = 1;
  assert.deepEqual(news, [
    { kind: "opening" },
    { kind: "open" },
    { kind: "event", type: "stream-open", data: "{}", id: "" },
    { kind: "open" },
    { kind: "event", type: "message", data: '{"id":1}', id: "1" },
    { kind: "waiting", until: clock.now - clock.began + 2_000 * (0.25 + 0.75 * 0.5), login: false },
  ]);
});

test("what has come is the last id, which not every event has", (t) => {
  const { stream } = open(t);
  Source.last.say("message", '{"id": 7}', "7");
  Source.last.say("keep-alive");
  assert.equal(stream.reached, 7);
  Source.last.say("stream-reset", '{"lastEventId": 0}', "0");
  assert.equal(stream.reached, 0);
});

test("a stream that is silent for 50 seconds is opened again, within 2 more", (t) => {
  const { clock, count } = open(t);
  Source.last.say("stream-open");
  clock.run(49_000);
  Source.last.say("keep-alive");
  clock.run(49_900);
  assert.equal(count(), 1);
  assert.ok(!Source.last.closed);
  clock.run(200);
  assert.ok(Source.all[0].closed);
  clock.run(2_000);
  assert.equal(count(), 2);
});

test("one that never opens is given up as well", (t) => {
  const { clock, count } = open(t);
  clock.run(53_000);
  assert.equal(count(), 2);
});

for (const [chance, delays] of [
  [1, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]],
  [0, [500, 1_000, 2_000, 4_000, 7_500, 7_500]],
])
  test(`the delay doubles up to 30 s, of which a quarter at least is waited (chance ${chance})`, (t) => {
    const { clock } = open(t);
    clock.chance = chance;
    assert.deepEqual(
      delays.map(() => delay(clock)),
      delays,
    );
  });

test("one that lived for more than 10 seconds forgets earlier failures", (t) => {
  const { clock } = open(t);
  clock.chance = 1;
  assert.deepEqual(
    [1, 2].map(() => delay(clock)),
    [2_000, 4_000],
  );
  clock.run(10_000);
  assert.equal(delay(clock), 8_000);
  clock.run(10_010);
  assert.equal(delay(clock), 2_000);
});

test("what a proxy answers while the server is away is no connection", (t) => {
  const { news } = open(t);
  Source.last.say("keep-alive");
  assert.ok(!news.some(({ kind }) => kind === "open"));
  Source.last.say("stream-open");
  assert.ok(news.some(({ kind }) => kind === "open"));
});

test("each new stream has to say that it is open", (t) => {
  const { clock, news } = open(t);
  Source.last.say("stream-open");
  delay(clock);
  news.length = 0;
  Source.last.say("keep-alive");
  assert.deepEqual(
    news.map(({ kind }) => kind),
    ["event"],
  );
});

test("an earlier position is asked for once, and a loop is slowed down", (t) => {
  const { clock, count, place, stream } = open(t, 7);
  clock.run(1_000);
  stream.rewind(3);
  assert.ok(Source.last.url.endsWith("=3"));
  stream.rewind(3); // at once again
  assert.equal(count(), 2);
  assert.ok(Source.last.closed);
  clock.run(2_000);
  assert.equal(count(), 3);
  assert.ok(Source.last.url.endsWith("=3"));
  place.position = 8;
  delay(clock);
  assert.ok(Source.last.url.endsWith("=8"));
  clock.run(1_000);
  stream.rewind(0);
  assert.ok(Source.last.url.endsWith("=0"));
});

test("waking up ends a delay, and a silence of 22 s, and trusts nothing of another network", (t) => {
  const { clock, count, stream } = open(t);
  Source.last.say("stream-open");
  stream.wake();
  clock.run(21_900);
  stream.wake();
  assert.equal(count(), 1);
  clock.run(200);
  stream.wake();
  assert.equal(count(), 2);
  Source.last.say("stream-open");
  stream.wake(true);
  assert.equal(count(), 3);
  Source.last.onerror();
  stream.wake();
  assert.equal(count(), 4);
  assert.equal(Source.all.filter(({ closed }) => !closed).length, 1);
});

test("a computer that slept has heard nothing meanwhile, whichever of its clocks stood still", (t) => {
  const { clock, count, stream } = open(t);
  Source.last.say("stream-open");
  clock.set = 60_000; // performance.now() stood still
  stream.wake();
  assert.equal(count(), 2);
  Source.last.say("stream-open");
  clock.set = -60_000; // it was set back, meanwhile or by itself
  clock.run(30_000);
  stream.wake();
  assert.equal(count(), 3);
  Source.last.say("stream-open");
  stream.wake();
  assert.equal(count(), 3);
});

test("a closed stream stays closed", (t) => {
  const { clock, count, stream } = open(t);
  stream.close();
  clock.run(600_000);
  stream.rewind(3);
  assert.equal(count(), 1);
});
