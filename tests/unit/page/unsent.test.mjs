// What a tab keeps of the messages that are not sent yet, beside others that wait for their locks.

import assert from "node:assert/strict";
import test from "node:test";

import { Unsent } from "../../../static/unsent.js";
import { Area } from "./area.mjs";
import { Clock } from "./clock.mjs";
import { become } from "./tab.mjs";

const SCOPE = "/rooms/tea/messages/:Ann";
const PREFIX = `flychat:unsent:${SCOPE}:`;

// A tab's own view of a browser; `request` gives locks, and there is none where it is null.
function begin(request = async (name, how, led) => led()) {
  Object.assign(globalThis, { window: globalThis, localStorage: new Area(), sessionStorage: new Area() });
  const locks = request && { request };
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  return new Unsent(SCOPE);
}

const record = (id, order, more, message) => ({
  message: { provisionalId: id, text: "hi", date: "2026-01-31T12:00:00.000Z", ...message },
  order,
  ...more,
});

// In Chromium and Firefox every fifth lock came before what had been removed right before it was released.
for (const stored of [7, false])
  test(`the lock of a message that is gone is kept until other tabs have heard of that (${stored})`, async (t) => {
    const clock = new Clock(t);
    let held;
    const unsent = begin(async (name, how, led) => (held = led()));
    unsent.hold("p", () => {});
    unsent.keep(record("p", 1));
    unsent.drop("p", stored);
    assert.deepEqual(unsent.all(), []);
    clock.run(900);
    assert.equal(await become(held), "open");
    clock.run(200);
    assert.notEqual(await become(held), "open");
  });

test("what is kept comes back in its order, to its own room and name", () => {
  const unsent = begin();
  const failed = { why: "x" };
  const kept = [record("b", 1), record("a", 2, { failed }), record("c", 3, {}, { lastEventId: 4 })];
  for (const each of [kept[1], kept[2], kept[0]]) assert.equal(unsent.keep(each), true);
  new Unsent("/rooms/tea/messages/:Bob").keep(record("d", 0));
  assert.deepEqual(unsent.all(), kept);
  assert.deepEqual(unsent.get("a"), kept[1]);
  assert.equal(unsent.get("d"), null);
});

test("what another version has left is not taken for a message", () => {
  const unsent = begin();
  const wrong = [{ text: 7 }, { text: undefined }, { date: "soon" }, { date: undefined }, { lastEventId: "1" }];
  const records = [
    { message: record("p", 1).message },
    record("q", 1),
    record("p", "1"),
    record("p", 1, { failed: { why: 7 } }),
    ...wrong.map((message) => record("p", 1, {}, message)),
  ];
  for (const left of ["", "{", "null", "7", "{}", '{"order": 1}', ...records.map((each) => JSON.stringify(each))]) {
    localStorage.setItem(`${PREFIX}p`, left);
    assert.deepEqual([unsent.all(), unsent.get("p")], [[], null], left);
  }
});

test("other tabs hear what becomes of a message: where it is, and whether it was stored", (t) => {
  new Clock(t);
  const unsent = begin();
  const told = [];
  let tell;
  globalThis.addEventListener = (type, listener) => (tell = type === "storage" && listener);
  unsent.listen((...heard) => told.push(heard));
  const [waits, name] = [record("p", 1), `${PREFIX}p`];
  localStorage.setItem = (key, newValue) => {
    localStorage[key] = newValue;
    tell({ key, newValue });
  };
  unsent.keep(waits);
  unsent.drop("p", 7);
  for (const [key, newValue] of [
    [name, null],
    [`${PREFIX}q`, "{"], // of another version
    ["flychat:else", null],
    [null, null], // all was cleared
  ])
    tell({ key, newValue });
  assert.deepEqual(told, [["p", waits], ["p", { ...waits, stored: 7 }], ["p", null]]);
});

test("without locks a message is kept for its tab only, without any storage not at all", () => {
  const unsent = begin(null);
  assert.equal(unsent.keep(record("p", 1)), false);
  assert.deepEqual([Object.keys(localStorage), Object.keys(sessionStorage)], [[], [`${PREFIX}p`]]);
  delete globalThis.sessionStorage;
  assert.deepEqual([unsent.keep(record("p", 1)), unsent.all(), unsent.get("p")], [false, [], null]);
});

test("the tab sends that has the message's lock, or where locks are denied", async () => {
  const asked = [];
  const denied = (name) => async (lock, { signal }, led) => {
    asked.push(lock);
    if (name === "late") unsent.release("p");
    if (name === "late") return led();
    throw Object.assign(new Error(), { name });
  };
  let unsent;
  for (const [why, sends] of Object.entries({ SecurityError: 1, AbortError: 0, late: 0 })) {
    let sent = 0;
    unsent = begin(denied(why));
    await unsent.hold("p", () => (sent += 1));
    assert.equal(sent, sends, why);
  }
  assert.deepEqual(asked, Array(3).fill(`${PREFIX}p`));
});
