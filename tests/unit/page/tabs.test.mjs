// The tab that leads, and what it knows of the others; which the test plays, on their channel.

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
async function opened(t) {
  Channel.all = [];
  Source.all = [];
  const page = Object.assign(new EventTarget(), { hidden: false });
  const locks = { asked: [], request: (name, how, led) => new Promise((_, reject) => locks.asked.push({ led, reject })) };
  const before = { document: globalThis.document, BroadcastChannel: globalThis.BroadcastChannel };
  Object.assign(globalThis, { document: page, BroadcastChannel: Channel, EventSource: Source });
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => Object.assign(globalThis, before));
  const clock = new Clock(t);
  const news = [];
  const tabs = new Tabs("/rooms/tea/messages/", () => 7, (each) => news.push(each));
  tabs.start();
  const channel = Channel.all.find(({ name }) => name === "flychat:/rooms/tea/messages/");
  const hear = (data) => channel.onmessage({ data });
  const hide = (hidden) => {
    page.hidden = hidden;
    if (hidden) tabs.rest();
    else tabs.hello("wake");
  };
  const lead = () => locks.asked.at(-1).led();
  const said = () => channel.posted.splice(0).map(({ kind }) => kind);
  return { clock, page, tabs, channel, news, hear, hide, lead, said, locks };
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
