// What a tab sends, when and in which order, beside other tabs, whose storage and locks the test plays.

import assert from "node:assert/strict";
import test from "node:test";

import { Outbox } from "../../../static/outbox.js";
import { Timer } from "../../../static/timer.js";
import { Area } from "./area.mjs";
import { Clock } from "./clock.mjs";
import { rested } from "./tab.mjs";

const PATH = "/rooms/tea/messages/";
const PREFIX = `flychat:unsent:${PATH}:Ann:`;

// A log without a page: its rows say what is told of them.
class Log {
  identity = { name: "Ann", sign: (message) => ({ ...message, from: "Ann" }), sends() {} };
  rows = [];
  official = [];
  last = 7;
  change(mutate) {
    mutate();
  }
  add(message) {
    const row = { message, timer: new Timer(), say: (state) => (row.state = state) };
    this.rows.push(row);
    return row;
  }
  remove(row) {
    this.rows = this.rows.filter((other) => other !== row);
  }
  isOfficial({ provisionalId }) {
    return this.official.includes(provisionalId);
  }
}

// `answers`: a status each, and the seconds of its Retry-After; 0 is none at all. Without one a message is stored.
function begin(t, { kept = [], answers = [], official = [] } = {}) {
  const clock = new Clock(t);
  const sent = [];
  const held = new Map(); // locks, by the id of their message
  globalThis.fetch = async (path, { body }) => {
    const { text, provisionalId: id } = JSON.parse(body);
    sent.push(text);
    const [status, after] = answers.shift() ?? [200];
    if (!status) throw new TypeError("no network");
    const headers = new Headers(after ? { "Retry-After": after } : {});
    const stored = { id: 7 + sent.length, provisionalId: id };
    return { status, ok: status === 200, headers, json: async () => (status === 200 ? stored : { error: { code: "x" } }) };
  };
  const request = async (name, { signal }, led) => {
    const id = name.slice(PREFIX.length);
    held.set(id, true);
    await led();
    held.delete(id);
  };
  let tell;
  Object.assign(globalThis, { window: globalThis, localStorage: new Area(), sessionStorage: new Area() });
  globalThis.addEventListener = (type, listener) => (tell = type === "storage" && listener);
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
  for (const record of kept) localStorage.setItem(PREFIX + record.message.provisionalId, JSON.stringify(record));
  const log = Object.assign(new Log(), { official });
  const outbox = new Outbox(PATH, log);
  const hear = (id, record) => {
    if (record) localStorage.setItem(PREFIX + id, JSON.stringify(record));
    else localStorage.removeItem(PREFIX + id);
    tell({ key: PREFIX + id, newValue: localStorage.getItem(PREFIX + id) });
  };
  return { clock, sent, held, log, outbox, hear };
}

const record = (id, more) => ({
  message: { provisionalId: id, text: id, date: "2026-01-31T12:00:00.000Z", from: "Ann" },
  order: 1,
  ...more,
});

test("what waits goes in its order, though the clock was set back meanwhile", async (t) => {
  const { clock, sent, outbox } = begin(t, { answers: [[0]] });
  outbox.send("one");
  await rested();
  clock.set = -3_600_000;
  outbox.send("two");
  outbox.send("three");
  clock.run(60_000);
  await rested();
  assert.deepEqual(sent, ["one", "one", "two", "three"]);
});

test("where one message has gone through, those behind it wait as for the first time", async (t) => {
  const { clock, sent, outbox } = begin(t, { answers: [[0], [0], [0], [200], [0]] });
  for (const text of ["one", "two"]) outbox.send(text);
  await rested();
  for (let tries = 0; tries < 3; tries += 1) {
    clock.run(outbox.state.until - performance.now());
    await rested();
  }
  assert.deepEqual(sent, ["one", "one", "one", "one", "two"]);
  assert.equal(outbox.state.until - performance.now(), 2_000 * (0.25 + 0.75 * 0.5));
});

test("a page that is put away sends nothing, leaves its messages to others, and goes on when it is back", async (t) => {
  const { clock, sent, held, outbox } = begin(t, { answers: [[0]] });
  outbox.send("one");
  await rested();
  assert.equal(held.size, 1);
  outbox.stop();
  await rested();
  assert.equal(held.size, 0);
  clock.run(60_000);
  outbox.wake();
  await rested();
  assert.deepEqual(sent, ["one"]);
  outbox.start();
  await rested();
  assert.deepEqual(sent, ["one", "one"]);
});

test("for how long the server has asked to wait, a connection that is back does not shorten", async (t) => {
  const { clock, sent, outbox } = begin(t, { answers: [[503, 30], [0]] });
  outbox.send("one");
  await rested();
  clock.run(20_000);
  outbox.wake();
  await rested();
  assert.equal(sent.length, 1);
  clock.run(10_000);
  await rested();
  assert.equal(sent.length, 2);
  outbox.wake(); // nobody has asked this time
  await rested();
  assert.equal(sent.length, 3);
});

test("no server makes the messages wait for more than ten minutes", async (t) => {
  const { clock, sent, outbox } = begin(t, { answers: [[429, 86_400]] });
  outbox.send("one");
  await rested();
  clock.run(599_000);
  assert.equal(sent.length, 1);
  clock.run(1_000);
  await rested();
  assert.equal(sent.length, 2);
});

test("what was left unsent is not sent or shown again where the log has it", async (t) => {
  const { sent, log } = begin(t, { kept: [record("p")], official: ["p"] });
  await rested();
  assert.deepEqual([sent, log.rows, Object.keys(localStorage)], [[], [], []]);
});

test("what another tab has sent or discarded is not sent by this one, which may hear of it only then", async (t) => {
  const { sent, log, hear } = begin(t);
  hear("p", record("p", { stored: 8 }));
  hear("p", null);
  hear("q", record("q", { failed: { why: "x" } }));
  assert.deepEqual(log.rows.map(({ state }) => state), ["failed"]);
  hear("q", null);
  await rested();
  assert.deepEqual([sent, log.rows], [[], []]);
});

test("what is tried again in another tab is sent by the one that holds it, at once", async (t) => {
  const { sent, hear, outbox } = begin(t, { kept: [record("p")], answers: [[400], [0]] });
  await rested();
  hear("p", record("p", { asked: 1 }));
  await rested();
  assert.deepEqual(sent, ["p", "p"]);
  hear("p", record("p", { asked: 2 }));
  await rested();
  assert.deepEqual(sent, ["p", "p", "p"]);
  assert.equal(outbox.state.count, 0);
});
