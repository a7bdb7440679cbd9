// How any page writes into a room.

import assert from "node:assert/strict";
import test from "node:test";

import { post } from "../../../static/flychat.js";
import { Clock } from "./clock.mjs";
import { rested } from "./tab.mjs";

const ROOM = "https://chat.example.org/rooms/tea/messages/";

// Answers POSTs with these, one each: null is none.
function answer(test, ...answers) {
  const clock = new Clock(test);
  const sent = [];
  globalThis.fetch = async (url, { method, body, headers }) => {
    sent.push({ url, method, ...JSON.parse(body), token: headers.Authorization });
    const next = answers.shift();
    if (!next) throw new TypeError("no network");
    const [status, said, after] = next;
    const head = new Headers({ "Content-Type": "application/json", ...(after && { "Retry-After": after }) });
    const json = async () => (typeof said === "string" ? JSON.parse(said) : said);
    return { status, ok: status < 300, headers: head, json };
  };
  return { clock, sent };
}

test("a message that got no answer is sent again as the same one", async (t) => {
  const { clock, sent } = answer(t, null, [503, {}, 7], [200, { id: 3 }]);
  const posted = post(ROOM, { from: "Ann", text: "hi" }, { token: "secret" });
  await rested();
  clock.run(1_200);
  await rested();
  assert.equal(sent.length, 1);
  clock.run(800);
  await rested();
  assert.equal(sent.length, 2);
  clock.run(6_900);
  await rested();
  assert.equal(sent.length, 2); // the server has said when
  clock.run(200);
  assert.deepEqual(await posted, { id: 3 });
  assert.match(sent[0].provisionalId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(new Set(sent.map((each) => JSON.stringify(each))).size, 1);
  assert.deepEqual([sent[0].method, sent[0].from, sent[0].token], ["POST", "Ann", "Bearer secret"]);
});

test("each message has an id of its own", async (t) => {
  const { sent } = answer(t, [200, { id: 3 }], [200, { id: 4 }]);
  for (const text of ["hi", "hi"]) await post(ROOM, { from: "Ann", text });
  assert.notEqual(sent[0].provisionalId, sent[1].provisionalId);
});

test("a message that got no answer within 20 seconds is sent again", async (t) => {
  const { clock, sent } = answer(t, [200, { id: 3 }]);
  const answered = globalThis.fetch;
  t.mock.method(AbortSignal, "timeout", (ms) => {
    const ending = new AbortController();
    setTimeout(() => ending.abort(), ms);
    return ending.signal;
  });
  let asked = 0;
  globalThis.fetch = (url, { signal, ...options }) => {
    if ((asked += 1) > 1) return answered(url, options);
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  const posted = post(ROOM, { from: "Ann", text: "hi" });
  await rested();
  clock.run(19_900);
  await rested();
  clock.run(200);
  await rested();
  assert.equal(asked, 1);
  clock.run(1_300); // from the end of its time
  assert.deepEqual([await posted, sent.length], [{ id: 3 }, 1]);
});

for (const status of [429, 500])
  test(`a server that answers ${status} is asked again`, async (t) => {
    const { clock, sent } = answer(t, [status, {}], [200, { id: 3 }]);
    const posted = post(ROOM, { from: "Ann", text: "hi" });
    await rested();
    clock.run(2_000);
    assert.deepEqual([await posted, sent.length], [{ id: 3 }, 2]);
  });

test("an answer that was cut on its way is none", async (t) => {
  const { clock, sent } = answer(t, [200, '{"id": 3, "fro'], [200, { id: 3 }]);
  const posted = post(ROOM, { from: "Ann", text: "hi" });
  await rested();
  clock.run(2_000);
  assert.deepEqual([await posted, sent.length], [{ id: 3 }, 2]);
});

for (const [status, said] of [
  [200, {}],
  [400, { id: 3 }],
])
  test(`what is no message of flychat's is no success (${status})`, async (t) => {
    const { sent } = answer(t, [status, said]);
    await assert.rejects(post(ROOM, { from: "Ann", text: "hi" }), { status, message: "no answer of flychat" });
    assert.equal(sent.length, 1);
  });

test("a refusal is thrown, with its reason", async (t) => {
  const error = { code: "forbidden", message: "not you" };
  const { sent } = answer(t, [403, { error }]);
  await assert.rejects(post(ROOM, { from: "Ann", text: "hi", provisionalId: "p" }), { status: 403, ...error });
  assert.deepEqual([sent.length, sent[0].provisionalId], [1, "p"]);
});

test("after eight tries it is given up", async (t) => {
  const { clock, sent } = answer(t);
  const posted = assert.rejects(post(ROOM, { from: "Ann", text: "hi" }), { message: "no answer of flychat" });
  for (let times = 0; times < 20; times += 1) {
    await rested();
    clock.run(30_000);
  }
  await posted;
  assert.equal(sent.length, 8);
});
