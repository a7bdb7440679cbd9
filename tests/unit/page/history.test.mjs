// Which messages are asked for, in which order. The log is the test's.

import assert from "node:assert/strict";
import test from "node:test";

import { History } from "../../../static/history.js";
import { settled } from "./tab.mjs";

const PATH = "/rooms/tea/messages/";

// A log that shows the messages 101 to 200 of more, from which somebody has scrolled away.
function begin(t) {
  const places = { older: {}, "history-note": {} };
  const { document: before, fetch } = globalThis;
  globalThis.document = { getElementById: (id) => places[id], activeElement: null };
  const asked = []; // the queries, each with what answers it
  globalThis.fetch = (path) =>
    new Promise((done) => {
      const body = { messages: [{ id: asked.length }] };
      const answer = { ok: true, status: 200, headers: new Headers(), json: async () => body };
      asked.push({ query: path.slice(`${PATH}?limit=100`.length), answer: () => (done(answer), settled()) });
    });
  t.after(() => Object.assign(globalThis, { document: before, fetch }));
  const shown = [];
  const taken = (how) => (messages) => shown.push([how, messages[0].id]);
  const scroller = Object.assign(new EventTarget(), { scrollTop: 2_000, scrollHeight: 5_000, clientHeight: 500 });
  const log = { first: 101, lastShown: 200, hasOlder: true, live: false, resets: 0, scroller };
  for (const how of ["prepend", "append", "replace"]) log[how] = taken(how);
  return { history: new History(PATH, log), asked, shown };
}

const queries = (asked) => asked.map(({ query }) => query);

test("while older messages are loaded no more are asked for", async (t) => {
  const { history, asked, shown } = begin(t);
  history.older();
  history.older();
  await settled();
  assert.deepEqual(queries(asked), ["&before=101"]);
  await asked[0].answer();
  assert.deepEqual(shown, [["prepend", 0]]);
  assert.equal(asked.length, 1);
  history.older();
  await settled();
  assert.equal(asked.length, 2);
});

for (const [how, query] of [
  ["newest", ""],
  ["around", "&before=51"],
])
  test(`${how}: what the person has asked for comes also if other messages are being loaded, and after them`, async (t) => {
    const { history, asked, shown } = begin(t);
    history.older();
    await settled();
    const there = history[how](1);
    await settled();
    assert.deepEqual(queries(asked), ["&before=101"]);
    await asked[0].answer();
    assert.deepEqual(queries(asked), ["&before=101", query]);
    await asked[1].answer();
    assert.equal(await there, true);
    assert.deepEqual(shown, [["prepend", 0], ["replace", 1]]);
  });
