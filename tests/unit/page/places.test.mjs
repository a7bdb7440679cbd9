// Who has a place for a stream, among all windows of a browser.

import assert from "node:assert/strict";
import test from "node:test";

import { Places } from "../../../static/places.js";
import { Clock } from "./clock.mjs";

// The channel of one browser. What is posted is heard when the test says so, in its order.
class Channel {
  static all = new Set();
  static posted = [];
  static deliver() {
    for (let next; (next = Channel.posted.shift()); )
      if (Channel.all.has(next.to)) next.to.onmessage({ data: next.data });
  }
  constructor() {
    Channel.all.add(this);
  }
  postMessage(data) {
    for (const to of Channel.all) if (to !== this) Channel.posted.push({ to, data: structuredClone(data) });
  }
  close() {
    Channel.all.delete(this);
  }
}

function browser(test, BroadcastChannel = Channel) {
  Channel.all.clear();
  Channel.posted = [];
  const before = globalThis.BroadcastChannel;
  globalThis.BroadcastChannel = BroadcastChannel;
  test.after(() => (globalThis.BroadcastChannel = before));
  return new Clock(test);
}

// A window: whether it has a stream is what it was told last.
class Window {
  constructor(hidden = false) {
    this.places = new Places(() => this.look());
    this.see(!hidden);
  }
  see(sight) {
    this.hidden = !sight;
    this.places.want(this.hidden);
    this.look();
  }
  look() {
    this.streams = this.places.has;
  }
  close() {
    this.places.leave();
    this.look();
  }
  crash() {
    const { length } = Channel.posted;
    this.close();
    Channel.posted.length = length;
  }
}

const streaming = (windows) => windows.map(({ streams }) => Number(streams)).join("");

function open(clock, ...hidden) {
  return hidden.map((hide) => {
    clock.run(10);
    const made = new Window(hide);
    Channel.deliver();
    return made;
  });
}

test("of windows in sight the first five have a place, and the next one follows who goes", (t) => {
  const clock = browser(t);
  const windows = open(clock, false, false, false, false, false, false, false);
  assert.equal(streaming(windows), "1111100");
  windows[1].close();
  Channel.deliver();
  assert.equal(streaming(windows), "1011110");
});

test("who was in sight longest ago gives way to who is in sight", (t) => {
  const clock = browser(t);
  const windows = open(clock, true, true, true, true, true, false);
  assert.equal(streaming(windows), "011111");
  clock.run(10);
  windows[0].see(true);
  Channel.deliver();
  assert.equal(streaming(windows), "101111");
  clock.run(10);
  windows[5].see(false); // it was in sight a moment ago
  windows[1].see(true);
  Channel.deliver();
  assert.equal(streaming(windows), "110111");
  windows[3].close();
  Channel.deliver();
  assert.equal(streaming(windows), "111011");
});

test("five in sight leave no place for those that are not", (t) => {
  const clock = browser(t);
  assert.equal(streaming(open(clock, true, true, false, false, false, false, false)), "0011111");
});

test("who has ended without a word is noticed by the next that wants its place", (t) => {
  const clock = browser(t);
  const windows = open(clock, false, false, false, false, false, false);
  windows[2].crash();
  assert.equal(streaming(windows), "110110");
  clock.run(5_000); // it asks again
  Channel.deliver();
  clock.run(1_900);
  Channel.deliver();
  assert.equal(streaming(windows), "110110");
  clock.run(200);
  assert.equal(streaming(windows), "110111");
});

test("who is out of sight and has no place asks nobody until it is looked at", (t) => {
  const clock = browser(t);
  const windows = open(clock, true, false, false, false, false, false);
  clock.run(2_000);
  Channel.deliver();
  assert.equal(streaming(windows), "011111");
  Channel.posted = [];
  clock.run(60_000);
  assert.deepEqual(Channel.posted, []);
});

test("who answers late has its place again", (t) => {
  const clock = browser(t);
  const windows = open(clock, false, false, false, false, false, false);
  clock.run(8_000); // nobody hears of anything
  assert.equal(streaming(windows), "111111");
  Channel.deliver();
  assert.equal(streaming(windows), "111110");
});

test("who comes back knows nothing of before", (t) => {
  const clock = browser(t);
  const windows = open(clock, false, false, false, false, false, false);
  windows[5].close();
  for (const gone of windows.slice(0, 5)) gone.close();
  windows[5].see(true);
  assert.equal(streaming(windows), "000001");
});

test("over HTTP/2 and 3 everybody has a place, and nobody is told of it", (t) => {
  for (const [protocol, limited] of [
    ["h2", false],
    ["h3", false],
    ["h3-29", false],
    ["http/1.1", true],
    ["", true],
  ]) {
    const clock = browser(t);
    const had = performance.getEntriesByType;
    performance.getEntriesByType = (type) => (type === "navigation" ? [{ nextHopProtocol: protocol }] : []);
    const windows = open(clock, ...Array(8).fill(true));
    performance.getEntriesByType = had;
    assert.equal(streaming(windows), limited ? "00011111" : "11111111", protocol);
    assert.equal(Channel.all.size, limited ? 8 : 0);
  }
});

test("without a channel those in sight have a place", (t) => {
  const Denied = class {
    constructor() {
      throw new Error("denied");
    }
  };
  const clock = browser(t, Denied);
  const windows = open(clock, true, false, false, false, false, false, false);
  assert.equal(streaming(windows), "0111111");
  windows[0].see(true);
  windows[1].see(false);
  assert.equal(streaming(windows), "1011111");
  windows[2].close();
});

// Whatever happens, in whatever order it is heard of: when all have heard of all, five have a place, or all that there
// are, and none of them is out of sight while one in sight has none.
test("any history comes to five streams, those in sight first", (t) => {
  let seed = 20;
  const chance = (below) => (seed = (seed * 48_271) % 2_147_483_647) % below;
  for (let story = 0; story < 200; story += 1) {
    const clock = browser(t);
    let windows = [];
    for (let step = 0; step < 60; step += 1) {
      clock.run(chance(3) * 700);
      const one = windows[chance(windows.length || 1)];
      const what = chance(8);
      if (what < 3) windows.push(new Window(what === 0));
      else if (what < 6) one?.see(one.hidden);
      else if (one) {
        if (what === 6) one.close();
        else one.crash();
        windows = windows.filter((each) => each !== one);
      }
      if (chance(2)) Channel.deliver();
    }
    for (let waited = 0; waited < 10_000; waited += 100) {
      Channel.deliver();
      clock.run(100);
    }
    const having = windows.filter(({ streams }) => streams);
    const inSight = windows.filter(({ hidden }) => !hidden);
    assert.ok(having.length <= 5, `${having.length} in story ${story}`);
    assert.equal(
      having.filter(({ hidden }) => !hidden).length,
      Math.min(5, inSight.length),
      `those in sight, in story ${story}`,
    );
  }
});
