// When a stream ends for good: its right has ended, or its room is private.

import assert from "node:assert/strict";
import test from "node:test";

import { delay, open } from "./opened.mjs";
import { Source } from "./source.mjs";

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
