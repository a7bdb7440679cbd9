// When a stream is opened, and opened again.

import assert from "node:assert/strict";
import test from "node:test";

import { Stream } from "../../../static/flychat.js";
import { Clock } from "./clock.mjs";
import { Source } from "./source.mjs";

// `answers` are the statuses with which the page of messages is answered: 0 is none at all; in a list, what is not
// the chat's own.
function open(test, position = 0, { isPrivate, answers = [] } = {}) {
  Source.all = [];
  globalThis.EventSource = Source;
  const asked = [];
  globalThis.fetch = async (path) => {
    asked.push(path);
    const status = answers.shift();
    if (!status) throw new TypeError("no network");
    if (status[0]) return { status: status[0], ok: status[0] === 200, json: async () => JSON.parse("<html>") };
    const body = status < 400 ? { messages: [] } : { error: { code: "a_code" } };
    return { status, ok: status < 400, json: async () => body };
  };
  const clock = new Clock(test);
  const place = { position };
  const news = [];
  const stream = new Stream(
    "/rooms/tea/messages/",
    () => place.position,
    (each) => news.push(each),
    { isPrivate },
  );
  stream.open();
  const count = () => Source.all.length;
  return { clock, place, news, stream, count, asked };
}

// Lets the stream fail, and says after how many ms it was opened again.
function delay(clock) {
  const before = Source.all.length;
  const failed = clock.now;
  Source.last.onerror();
  for (let ms = 0; ms <= 40_000 && Source.all.length === before; ms += 10) clock.run(10);
  return clock.now - failed;
}

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
});

test("a closed stream stays closed", (t) => {
  const { clock, count, stream } = open(t);
  stream.close();
  clock.run(600_000);
  stream.rewind(3);
  assert.equal(count(), 1);
});

const settled = () => new Promise((resolve) => setImmediate(resolve));
const ended = (news) => news.filter(({ kind }) => kind === "ended");

for (const status of [401, 403])
  test(`in a private room a failure has the status asked for, and a ${status} is the end`, async (t) => {
    const { clock, news, count, asked } = open(t, 7, { isPrivate: true, answers: [status] });
    Source.last.onerror();
    await settled();
    assert.deepEqual(asked, ["/rooms/tea/messages/?limit=1"]);
    assert.deepEqual(news.at(-1), { kind: "ended", reason: "private" });
    clock.run(600_000);
    await settled();
    assert.deepEqual([count(), asked.length, ended(news).length], [1, 1, 1]);
  });

for (const reason of ["expired", "revoked", "private"])
  test(`a stream that the server ends because the right is ${reason} is asked about at once`, async (t) => {
    const { clock, news, count, asked } = open(t, 7, { answers: [401] });
    Source.last.say("stream-open");
    Source.last.say("stream-end", JSON.stringify({ reason }));
    assert.ok(Source.last.closed);
    await settled();
    assert.deepEqual([asked.length, news.at(-1)], [1, { kind: "ended", reason }]);
    clock.run(600_000);
    assert.equal(count(), 1);
  });

test("with a right that was renewed meanwhile it goes on, and the old reason is forgotten", async (t) => {
  const { clock, news, count, asked } = open(t, 7, { isPrivate: true, answers: [200, 401] });
  Source.last.say("stream-end", '{"reason":"expired"}');
  await settled();
  clock.run(2_000);
  assert.deepEqual([count(), asked.length, ended(news)], [2, 1, []]);
  Source.last.onerror();
  await settled();
  assert.deepEqual(news.at(-1), { kind: "ended", reason: "private" });
});

test("while the server cannot say why, the stream is asked for again, and the reason is kept", async (t) => {
  const { clock, news, count } = open(t, 7, { answers: [0, 503, 401] });
  Source.last.say("stream-end", '{"reason":"revoked"}');
  await settled();
  clock.run(2_000);
  assert.equal(count(), 2);
  Source.last.onerror();
  await settled();
  assert.deepEqual(ended(news), []);
  delay(clock);
  await settled();
  assert.deepEqual(ended(news), [{ kind: "ended", reason: "revoked" }]);
});

test("in a public room only the third failure in a row has it asked", async (t) => {
  const { clock, news, asked } = open(t, 7, { answers: [200, 403] });
  for (const wanted of [0, 0, 1]) {
    delay(clock);
    await settled();
    assert.equal(asked.length, wanted);
  }
  assert.deepEqual(ended(news), []);
  Source.last.onerror();
  await settled();
  assert.deepEqual(news.at(-1), { kind: "ended", reason: "private" });
});

test("a stream that was opened meanwhile is believed", async (t) => {
  const { clock, news, count } = open(t, 7, { isPrivate: true });
  let answer;
  globalThis.fetch = () => new Promise((resolve) => (answer = resolve));
  Source.last.onerror();
  clock.run(2_000);
  Source.last.say("stream-open");
  answer({ status: 401, json: async () => ({ error: { code: "unauthorized" } }) });
  await settled();
  assert.deepEqual([count(), ended(news), Source.last.closed], [2, [], false]);
});

test("one that was asked for meanwhile, and has not opened, says nothing against a refusal", async (t) => {
  const { clock, news, count } = open(t, 7, { isPrivate: true });
  let answer;
  globalThis.fetch = () => new Promise((resolve) => (answer = resolve));
  Source.last.onerror();
  clock.run(2_000);
  answer({ status: 401, json: async () => ({ error: { code: "unauthorized" } }) });
  await settled();
  assert.deepEqual([count(), ended(news).length, Source.last.closed], [2, 1, true]);
});

for (const status of [200, 401, 403])
  test(`a ${status} that is not the chat's own ends nothing: a login in front has ended`, async (t) => {
    const login = [status]; // the third time the server cannot be reached; then the login is there again
    const { news, stream } = open(t, 7, { isPrivate: true, answers: [login, login, 0, 200, login, 403] });
    const waits = () => news.filter(({ kind }) => kind === "waiting").map(({ login }) => login);
    for (const wanted of [[false, true], [true, true], [true], [true, false], [false, true]]) {
      news.length = 0;
      Source.last.onerror();
      await settled();
      assert.deepEqual([waits(), ended(news)], [wanted, []]);
      if (wanted[1]) assert.equal(news[0].until, news[1].until, "it is asked again when it was said");
      stream.open();
    }
    Source.last.say("stream-open");
    Source.last.onerror();
    assert.equal(waits().at(-1), false, "a stream that is open knows of no login");
    await settled();
    assert.equal(ended(news).length, 1);
  });
