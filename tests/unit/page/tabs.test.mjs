// A tab that leads or follows the others of its room; which the test plays, on their channel.

import assert from "node:assert/strict";
import test from "node:test";

import { Tabs } from "../../../static/tabs.js";
import { Clock } from "./clock.mjs";
import { Source } from "./source.mjs";

const settled = () => new Promise((done) => setImmediate(done));

// The channels of a tab: those of its room's other tabs are the test's.
class Channel {
  static all = [];
  constructor(name) {
    Object.assign(this, { name, posted: [] });
    Channel.all.push(this);
  }
  postMessage(data) {
    if (!this.closed) this.posted.push(structuredClone(data));
  }
  close() {
    this.closed = true;
  }
}

// A tab that is about to start, in sight; `lead()` gives it the lock.
async function opened(t, options) {
  Channel.all = [];
  Source.all = [];
  const page = Object.assign(new EventTarget(), { hidden: false });
  const locks = { asked: [], request: (name, how, led) => new Promise((_, reject) => locks.asked.push({ how, led, reject })) };
  const before = { document: globalThis.document, BroadcastChannel: globalThis.BroadcastChannel };
  Object.assign(globalThis, { document: page, BroadcastChannel: Channel, EventSource: Source });
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => Object.assign(globalThis, before));
  const clock = new Clock(t);
  const news = [];
  const place = { last: 7 };
  const tabs = new Tabs("/rooms/tea/messages/", () => place.last, (each) => news.push(each), options);
  tabs.start();
  const channel = Channel.all.find(({ name }) => name.startsWith("flychat:"));
  const hear = (data) => channel.onmessage({ data });
  const hide = (hidden) => {
    page.hidden = hidden;
    if (hidden) tabs.rest();
    else tabs.hello("wake");
  };
  const lead = () => locks.asked.at(-1).led();
  const said = () => channel.posted.splice(0).map(({ kind }) => kind);
  // What the stream finds out when its right has ended.
  const end = (reason) => tabs.stream.tell({ kind: "ended", reason });
  return { clock, page, tabs, channel, news, hear, hide, lead, said, locks, place, end };
}

// Five windows of other rooms, in sight (places.js): they came before this one, and say so whenever it asks.
function crowd() {
  const places = Channel.all.find(({ name }) => name === "flychat:places");
  const say = (id) => places.onmessage({ data: { kind: "here", id, hidden: false, since: 0 } });
  places.postMessage = ({ asks }) => asks && ["1", "2", "3", "4", "5"].forEach(say);
  places.postMessage({ asks: true });
}

// What has become of a promise by now: its value, or "open".
async function become(promise) {
  let value = "open";
  promise.then((given) => (value = given));
  await settled();
  return value;
}

test("a leader that goes out of sight knows already who else is in sight", async (t) => {
  const { tabs, hear, hide, lead } = await opened(t);
  lead();
  hear({ kind: "hello", last: 7, id: "one", sight: true });
  hear({ kind: "hello", last: 7, id: "two", sight: true });
  hide(true);
  assert.equal(await become(tabs.speaks()), false);
  hear({ kind: "rest", last: 7, id: "one", sight: false });
  assert.equal(await become(tabs.speaks()), false);
});

test("a leader out of sight speaks when nobody has said in time that they look", async (t) => {
  const { clock, tabs, hear, hide, lead, said } = await opened(t);
  lead();
  hear({ kind: "hello", last: 7, id: "one", sight: true });
  said();
  hide(true);
  assert.deepEqual(said(), ["rest"]);
  hear({ kind: "rest", last: 7, id: "one", sight: false });
  const speaks = tabs.speaks();
  clock.run(1_900);
  assert.equal(await become(speaks), "open");
  clock.run(200);
  assert.equal(await become(speaks), true);
  assert.equal(await become(tabs.speaks()), true);
});

test("a tab that comes into sight just after the leader has left it is waited for", async (t) => {
  const { clock, tabs, hear, hide, lead } = await opened(t);
  lead();
  hide(true);
  const speaks = tabs.speaks();
  clock.run(100);
  hear({ kind: "wake", last: 7, id: "one", sight: true });
  clock.run(2_000);
  assert.equal(await become(speaks), false);
});

test("a new leader out of sight asks who looks", async (t) => {
  const { clock, tabs, hear, hide, lead, said } = await opened(t);
  hide(true);
  assert.equal(await become(tabs.speaks()), false); // it does not lead
  lead();
  assert.equal(said().at(-1), "leader");
  const speaks = tabs.speaks();
  hear({ kind: "hello", last: 7, id: "one", sight: true });
  clock.run(2_000);
  assert.equal(await become(speaks), false);
});

test("a tab that has ended without a word looks no more", async (t) => {
  const { clock, tabs, hear, hide, lead } = await opened(t);
  lead();
  hear({ kind: "hello", last: 7, id: "one", sight: true });
  hear({ kind: "wake", last: 7, sight: true }); // of another release: it has no id
  hide(true);
  clock.run(1_000);
  hear({ kind: "wake", last: 7, sight: true });
  clock.run(1_100);
  await settled();
  assert.equal(await become(tabs.speaks()), false);
  hide(true); // nobody answers
  clock.run(2_100);
  await settled();
  assert.equal(await become(tabs.speaks()), true);
});

test("who has answered the later of two questions has answered", async (t) => {
  const { clock, tabs, hear, hide, lead } = await opened(t);
  lead();
  hear({ kind: "hello", last: 7, id: "one", sight: true });
  hear({ kind: "hello", last: 7, id: "two", sight: true });
  hide(true);
  clock.run(1_000);
  hear({ kind: "rest", last: 7, id: "two", sight: false });
  hear({ kind: "wake", last: 7, id: "one", sight: true });
  clock.run(1_100);
  await settled();
  assert.equal(await become(tabs.speaks()), false);
});

test("when another tab goes out of sight, all are asked, and those who do not answer give up the place", async (t) => {
  const { clock, hear, hide, lead, said } = await opened(t);
  lead();
  hear({ kind: "hello", last: 7, id: "one", sight: true });
  hear({ kind: "hello", last: 7, id: "two", sight: true });
  hide(true);
  said();
  const places = Channel.all.find(({ name }) => name === "flychat:places");
  places.posted.length = 0;
  hear({ kind: "rest", last: 7, id: "two", sight: false });
  assert.deepEqual(said(), ["rest"]);
  assert.deepEqual(places.posted, [], "the room is in sight as before");
  clock.run(2_100);
  await settled();
  assert.equal(places.posted.at(-1).hidden, true);
});

test("without a place a room that is in sight is looked at in turns, and one that is not rests", async (t) => {
  const asked = [];
  globalThis.fetch = async (path) => {
    asked.push(path);
    return { ok: true, status: 200, headers: new Headers(), json: async () => ({ messages: [], lastEventId: 7 }) };
  };
  const { clock, news, hear, hide, lead, channel, tabs } = await opened(t);
  lead();
  crowd();
  assert.ok(Source.last.closed);
  await settled();
  assert.equal(asked.length, 1);
  assert.equal(news.at(-1).kind, "turns");
  Source.last.say("keep-alive");
  channel.posted.length = 0;
  hear({ kind: "wake", last: 7, id: "one", sight: true }); // does not sit out the five seconds
  await settled();
  assert.equal(asked.length, 2);
  assert.equal(channel.posted.at(-1).kind, "turns");
  tabs.hello(); // a gap
  await settled();
  assert.equal(asked.length, 3);
  hear({ kind: "rest", last: 7, id: "one", sight: false });
  hide(true);
  assert.equal(channel.posted.at(-1).kind, "rest");
  clock.run(20_000);
  await settled();
  assert.equal(asked.length, 3);
  channel.posted.length = 0;
  hear({ kind: "hello", last: 7, id: "two", sight: false });
  assert.deepEqual(channel.posted, [{ kind: "rest" }]);
});

test("a tab that hears nothing of a leader for 5 seconds takes its place", async (t) => {
  const { clock, tabs, locks, said } = await opened(t);
  assert.deepEqual(said(), ["hello"]);
  clock.run(3_000);
  tabs.hello("wake"); // to ask again is no reason to wait longer
  clock.run(1_900);
  assert.deepEqual(locks.asked.map(({ how }) => how.steal), [undefined]);
  clock.run(200);
  assert.deepEqual(locks.asked.map(({ how }) => how.steal), [undefined, true]);
  assert.ok(locks.asked[0].how.signal.aborted);
});

test("a tab that hears of its leader follows, and asks again when that is late", async (t) => {
  const { clock, hear, said, news, locks } = await opened(t);
  hear({ kind: "waiting", wait: 20_000, login: false });
  assert.deepEqual(news, [{ kind: "waiting", wait: 20_000, login: false, until: performance.now() + 20_000 }]);
  said();
  clock.run(20_900);
  assert.deepEqual(said(), []);
  clock.run(200);
  assert.deepEqual(said(), ["wake"]);
  hear({ kind: "open" });
  clock.run(49_000);
  assert.deepEqual(said(), []);
  clock.run(1_100);
  assert.deepEqual(said(), ["wake"]);
  assert.equal(locks.asked.length, 1);
});

test("a follower greets a new leader, and answers in sight only", async (t) => {
  const { page, hear, said, tabs, channel } = await opened(t);
  said();
  hear({ kind: "leader" });
  assert.deepEqual(said(), ["hello"]);
  hear({ kind: "rest" });
  assert.deepEqual(said(), ["wake"]);
  page.hidden = true;
  hear({ kind: "rest" });
  assert.deepEqual(said(), []);
  hear({ kind: "hello", last: 3, id: "another", sight: true }); // that is for the leader
  assert.deepEqual(said(), []);
  tabs.stop();
  assert.deepEqual(
    channel.posted.map(({ kind, last, sight }) => [kind, last, sight]),
    [["rest", 7, false]],
  );
});

test("a leader says what it knows to who asks, and gives them what they lack", async (t) => {
  const { clock, hear, lead, channel, place } = await opened(t);
  lead();
  clock.run(1_100); // a stream that is opened again at once is slowed down
  Source.last.say("stream-open");
  Source.last.say("message", '{"id": 9}', "9"); // it is not shown here yet
  channel.posted.length = 0;
  hear({ kind: "hello", last: 9, id: "one", sight: true });
  assert.deepEqual(channel.posted, [{ kind: "open" }]);
  assert.equal(Source.all.length, 1);
  hear({ kind: "hello", last: 8, id: "two", sight: true });
  assert.match(Source.last.url, /lastEventId=8$/);
  assert.equal(Source.all.length, 2);
  clock.run(1_100);
  place.last = 12; // by the answer to a message of its own
  hear({ kind: "hello", last: 11, id: "two", sight: true });
  assert.match(Source.last.url, /lastEventId=11$/);
});

test("a time that the leader tells is told as how long that is", async (t) => {
  const { clock, lead, channel } = await opened(t);
  lead();
  clock.run(400);
  Source.last.onerror();
  const { kind, wait } = channel.posted.at(-1);
  assert.deepEqual([kind, wait], ["waiting", 2_000 * (0.25 + 0.75 * 0.5)]);
});

for (const kind of ["wake", "online"])
  test(`a leader that waits tries at once when another tab says "${kind}"`, async (t) => {
    const { clock, hear, lead } = await opened(t);
    lead();
    Source.last.onerror();
    clock.run(100);
    assert.equal(Source.all.length, 1);
    hear({ kind, last: 7, id: "one", sight: true });
    assert.equal(Source.all.length, 2);
  });

test("a leader that is woken keeps a stream that lives, but none of another network", async (t) => {
  const { clock, lead, tabs } = await opened(t);
  lead();
  clock.run(5_000);
  Source.last.say("stream-open");
  tabs.hello("wake");
  assert.equal(Source.all.length, 1);
  tabs.hello("online");
  assert.equal(Source.all.length, 2);
  assert.ok(Source.all[0].closed);
});

test("a leader that has a gap asks its stream for it", async (t) => {
  const { clock, lead, tabs } = await opened(t);
  lead();
  clock.run(1_100);
  tabs.hello();
  assert.equal(Source.all.length, 2);
});

test("a leader that stops gives up its stream and the lock, after an end when others have heard of it", async (t) => {
  const first = await opened(t);
  const led = first.lead();
  first.tabs.start(); // it has
  assert.equal(first.locks.asked.length, 1);
  first.clock.run(6_000); // it waits for no leader any more
  assert.equal(first.locks.asked.length, 1);
  first.tabs.stop();
  const places = Channel.all.find(({ name }) => name === "flychat:places");
  assert.equal(places.posted.at(-1).kind, "gone");
  first.hide(true); // as a page is told that is left
  assert.equal(Channel.all.length, 2);
  assert.ok(Source.last.closed);
  assert.ok(first.channel.closed);
  assert.notEqual(await become(led), "open");
  const second = await opened(t);
  const held = second.lead();
  second.end("revoked");
  second.tabs.stop();
  assert.equal(await become(held), "open");
  second.clock.run(1_000);
  assert.notEqual(await become(held), "open");
});

test("a lock that is given to a tab that has stopped is given back", async (t) => {
  const { tabs, lead, locks } = await opened(t);
  tabs.stop();
  assert.ok(locks.asked[0].how.signal.aborted);
  assert.equal(lead(), null);
  locks.asked[0].reject(Object.assign(new Error(), { name: "AbortError" }));
  await settled();
  assert.equal(locks.asked.length, 1);
  assert.equal(Source.all.length, 0);
});

test("a leader that lost the lock to another tab follows it", async (t) => {
  const { lead, locks } = await opened(t);
  lead();
  locks.asked[0].reject(Object.assign(new Error(), { name: "AbortError" }));
  await settled();
  assert.ok(Source.last.closed);
  assert.equal(Source.all.length, 1);
  assert.equal(locks.asked.length, 2);
  const channel = Channel.all.findLast(({ name }) => name.startsWith("flychat:/"));
  assert.deepEqual(channel.posted.map(({ kind }) => kind), ["hello"]);
});

test("where locks are denied each tab has a stream of its own", async (t) => {
  const { locks, channel } = await opened(t);
  locks.asked[0].reject(Object.assign(new Error(), { name: "SecurityError" }));
  await settled();
  assert.ok(channel.closed);
  assert.equal(Source.all.length, 1);
  assert.equal(locks.asked.length, 1);
});

test("tabs of another session are not heard", async (t) => {
  const { channel } = await opened(t, { session: "abc" });
  assert.equal(channel.name, "flychat:abc:/rooms/tea/messages/");
});
