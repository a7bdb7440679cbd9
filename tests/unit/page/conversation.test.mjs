// What the order rule tells the page beyond the table that all clients share (stream_rule.test.mjs).

import assert from "node:assert/strict";
import test from "node:test";

import { Conversation, keyOf } from "../../../static/conversation.js";

const message = (key, from = "Bob") => ({
  from,
  text: `${key}`,
  date: "2026-01-31T12:00:00.000Z",
  provisionalId: `${key}`,
});
const official = (id, key = id) => ({
  type: "message",
  data: JSON.stringify({ id, ...message(key) }),
  id: `${id}`,
});
const provisional = (key) => ({ type: "message", data: JSON.stringify(message(key)), id: "" });
const reset = (reason, lastEventId, at) => ({
  type: "stream-reset",
  data: JSON.stringify({ reason, lastEventId }),
  id: `${at}`,
});

test("an official message takes over the row that was loose under its key", () => {
  const conversation = new Conversation(0);
  const row = { message: message("a"), own: true, pending: true };
  conversation.add(row);
  const news = conversation.take(official(1, "a"));
  assert.equal(news.row, row);
  assert.equal(conversation.loose.size, 0);
  assert.ok(conversation.isOfficial(message("a")));
});

test("the same provisional id of another author is another message", () => {
  const conversation = new Conversation(0);
  conversation.add({ message: message("a", "Ann") });
  assert.equal(conversation.take(official(1, "a")).row, undefined);
  assert.ok(!conversation.isOfficial(message("a", "Ann")));
  assert.notEqual(keyOf(message("a", "Ann")), keyOf(message("a")));
  const removed = { id: 2, ...message("a"), text: "", removed: 3 };
  assert.equal(conversation.take({ type: "message", data: JSON.stringify(removed), id: "2" }).row, undefined);
});

test("the same author and provisional id of another user are another message", () => {
  const keys = [undefined, "ann", "eve"].map((user) => keyOf({ ...message("a"), user }));
  assert.equal(new Set(keys).size, 3);
  assert.equal(keyOf(JSON.parse(JSON.stringify(message("a")))), keys[0]);
  assert.notEqual(keyOf({ ...message("a", "b\u0020c"), user: "a" }), keyOf({ ...message("a", "c"), user: "a b" }));
  const conversation = new Conversation(0);
  const row = { message: { ...message("a"), user: "ann" }, own: true, pending: true };
  conversation.add(row);
  assert.equal(conversation.take(official(1, "a")).row, undefined);
  const mine = { id: 2, ...row.message };
  assert.equal(conversation.take({ type: "message", data: JSON.stringify(mine), id: "2" }).row, row);
});

test("the echo of an own message is not shown a second time", () => {
  const conversation = new Conversation(0);
  conversation.add({ message: message("a"), own: true, pending: true });
  assert.equal(conversation.take(provisional("a")).kind, "nothing");
});

test("one that comes in the place of another is the last, and stays when that is removed", () => {
  const conversation = new Conversation(0);
  const [first, other, again] = ["a", "b", "a"].map((key) => ({ message: message(key) }));
  for (const row of [first, other]) assert.equal(conversation.add(row), undefined);
  assert.equal(conversation.add(again), first);
  conversation.remove(first);
  assert.deepEqual([...conversation.loose.values()], [other, again]);
});

test("a retraction marks what others sent; an own one is its author's business", () => {
  const conversation = new Conversation(0);
  const rows = [{ message: message("a"), own: true, pending: true }, { message: message("b") }];
  rows.forEach((row) => conversation.add(row));
  for (const [number, key] of ["a", "b"].entries()) {
    const news = conversation.take({
      type: "retraction",
      data: JSON.stringify({ provisionalId: key }),
      id: "",
    });
    assert.deepEqual(news, { kind: "retraction", rows: [rows[number]] });
  }
  assert.deepEqual(
    rows.map(({ withdrawn }) => withdrawn),
    [false, true],
  );
  assert.equal(conversation.take(provisional("a")).kind, "nothing");
  assert.equal(conversation.take(provisional("b")).instead, rows[1]);
});

test("a reset drops the loose ones, but for those that are being sent", () => {
  const conversation = new Conversation(3);
  const sending = { message: message("a"), own: true, pending: true };
  const others = [{ message: message("b"), own: true, pending: false }, { message: message("c") }];
  [sending, ...others].forEach((row) => conversation.add(row));
  assert.deepEqual(conversation.take(reset("behind", 9, 8)), {
    ...{ kind: "reset", rows: others, replaced: false, missed: 5 },
  });
  assert.deepEqual([...conversation.loose.values()], [sending]);
  assert.equal(conversation.resets, 1);
});

test("what comes again after a reset is no news, unless it is another log", () => {
  for (const [reason, news] of [
    ["behind", [false, false, true]],
    ["ahead", [true, true, true]],
  ]) {
    const conversation = new Conversation(0);
    for (const id of [1, 2]) assert.ok(conversation.take(official(id)).news);
    conversation.take(reset(reason, 3, 0));
    assert.deepEqual(
      [1, 2, 3].map((id) => conversation.take(official(id)).news),
      news,
    );
  }
});

test("only the first message after a reset is said to be it", () => {
  const conversation = new Conversation(3);
  conversation.take(reset("behind", 90, 40));
  assert.deepEqual(
    [60, 61].map((id) => conversation.take(official(id)).afresh),
    [true, false],
  );
});

test("a reset for a tab far behind is none for one that missed nothing", () => {
  const conversation = new Conversation(0);
  for (const id of [1, 2, 3]) conversation.take(official(id));
  assert.equal(conversation.take(reset("behind", 3, 1)).kind, "nothing");
  assert.deepEqual(
    [2, 3, 4].map((id) => conversation.take(official(id)).kind),
    ["nothing", "nothing", "official"],
  );
  assert.equal(conversation.resets, 0);
});

test("what was loaded by the way is not shown again by a stream that is behind it", () => {
  const conversation = new Conversation(1);
  conversation.reach(3);
  assert.deepEqual(
    [2, 3, 4].map((id) => conversation.take(official(id)).kind),
    ["nothing", "nothing", "official"],
  );
  conversation.reach(2);
  assert.equal(conversation.last, 4);
});

test("the keys of the last two thousand messages are remembered", () => {
  const conversation = new Conversation(0);
  for (let id = 1; id <= 2_001; id += 1) conversation.take(official(id));
  assert.deepEqual(
    [1, 2, 2_001].map((key) => conversation.take(provisional(key)).kind),
    ["provisional", "nothing", "nothing"],
  );
});

test("keys of before a reset are of another log, or of what is not shown any more", () => {
  const conversation = new Conversation(0);
  conversation.take(official(1, "a"));
  conversation.take(reset("ahead", 0, 0));
  assert.ok(!conversation.isOfficial(message("a")));
  assert.equal(conversation.take(provisional("a")).kind, "provisional");
});

test("what is removed is left without its text, in whatever way and order it comes", () => {
  const conversation = new Conversation(4);
  const old = { id: 2, ...message("b") };
  assert.equal(conversation.left(old), old);
  const removal = { id: 5, ...message("r"), removes: [2, 3] };
  const news = conversation.take({ type: "message", data: JSON.stringify(removal), id: "5" });
  assert.deepEqual(news.message.removes, [2, 3]);
  assert.deepEqual(conversation.left(old), { ...old, text: "", removed: 5 });
  assert.deepEqual(conversation.left({ ...old, text: "" , removed: 4 }), { ...old, text: "", removed: 4 });
  const other = new Conversation(9);
  other.left(removal); // on a page of the past
  assert.deepEqual(other.left(old), { ...old, text: "", removed: 5 });
});

test("what is removed is remembered for a bounded number of messages", () => {
  const conversation = new Conversation(4);
  const many = Array.from({ length: 12_000 }, (_, n) => n + 1);
  for (let at = 0; at < many.length; at += 1_000)
    conversation.left({ id: 20_000 + at, ...message("r"), removes: many.slice(at, at + 1_000) });
  assert.equal(conversation.left({ id: 1, ...message("b") }).removed, undefined);
  assert.equal(conversation.left({ id: 12_000, ...message("b") }).removed, 31_000);
});
