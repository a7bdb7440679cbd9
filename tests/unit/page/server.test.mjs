// How long the page waits where it is asked for patience.

import assert from "node:assert/strict";
import test from "node:test";

import { isLogin } from "../../../static/stream.js";
import { learn, now } from "../../../static/now.js";
import { ask, patience, secondsToWait } from "../../../static/server.js";
import { Clock } from "./clock.mjs";

const answer = (status, after) => ({
  status,
  headers: new Headers(after === undefined ? {} : { "Retry-After": after }),
});

for (const status of [500, 502, 503, 504, 507, 520, 530, 598])
  test(`a ${status} is waited for`, () =>
    assert.deepEqual(patience(answer(status, "7"), 1), {
      why: "The server is busy",
      seconds: 7,
      goesOn: true,
    }));

test("too many messages at once are waited for", () =>
  assert.deepEqual(patience(answer(429, "7"), 1), {
    why: "Too many messages at once",
    seconds: 7,
    goesOn: true,
  }));

for (const status of [200, 303, 400, 403, 404, 409, 413])
  test(`a ${status} is not`, () => assert.ok(!patience(answer(status, "7"), 1).goesOn));

test("after eight tries it is left to the person", () =>
  assert.deepEqual(
    [1, 7, 8, 9].map((tries) => patience(answer(503, "7"), tries).goesOn),
    [true, true, false, false],
  ));

test("a wait of more than a minute, too", () => {
  for (const [after, goesOn] of [
    ["60", true],
    ["61", false],
    ["150", false],
  ])
    assert.equal(patience(answer(503, after), 1).goesOn, goesOn);
});

for (const [after, seconds] of [
  [undefined, 2],
  ["7", 7],
  ["0", 1],
  ["1.2", 2],
  ["-5", 1],
  ["soon", 2],
  ["Tue, 14 Nov 2023 22:13:50 GMT", 30],
  ["Tue, 14 Nov 2023 22:43:20 GMT", 1_800],
  ["Tue, 14 Nov 2023 20:00:00 GMT", 1],
])
  test(`Retry-After: ${after}`, (t) => {
    const clock = new Clock(t); // it begins on that day at 22:13:20
    learn(clock.now, performance.now() + 1_000); // to the millisecond
    assert.equal(secondsToWait(answer(503, after)), seconds);
  });

test("a Retry-After with a date counts from the date of its answer", () => {
  const headers = { "Retry-After": "Tue, 14 Nov 2023 22:14:05 GMT", Date: "Tue, 14 Nov 2023 22:14:00 GMT" };
  assert.equal(secondsToWait({ headers: new Headers(headers) }), 5);
});

test("every answer says what time it is", async (t) => {
  const clock = new Clock(t);
  for (const ahead of [7_200_000, 0]) {
    const time = new Date(clock.now + ahead).toUTCString();
    globalThis.fetch = async () => ({ headers: new Headers({ Date: time }), json: async () => ({}) });
    await ask("/rooms/tea/messages/?limit=1");
    assert.ok(Math.abs(now() - clock.now - ahead) <= 1_000, `${now() - clock.now}`);
  }
});

const answered = { type: "basic", ok: true, status: 200 };
const refused = (status) => ({ type: "basic", ok: false, status });
for (const [name, found, body, wanted] of [
  ["messages", answered, { messages: [] }, false],
  ["a message", answered, { id: 1 }, false],
  ["a page instead of an answer", answered, {}, true],
  ["a redirect", { type: "opaqueredirect", ok: false, status: 0 }, {}, true],
  ["a right that is missing", refused(403), { error: { code: "forbidden" } }, false],
  ["somebody who is not signed in here", refused(401), { error: { code: "unauthorized" } }, false],
  ["a 401 of a proxy", refused(401), {}, true],
  ["a 403 of a proxy, in JSON", refused(403), { error: "login required" }, true],
  ["a 404", refused(404), {}, false],
  ["a 502", refused(502), {}, false],
])
  test(`${name}: ${wanted ? "something else has answered" : "the chat's own"}`, () =>
    assert.equal(isLogin(found, body), wanted));

test("a redirect is not followed: it leads away from the chat", async () => {
  let asked;
  globalThis.fetch = async (path, options) => (asked = options) && { json: async () => ({}) };
  await ask("/rooms/tea/messages/?limit=1");
  assert.equal(asked.redirect, "manual");
});
