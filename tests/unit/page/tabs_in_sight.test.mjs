// Which tabs of a room are in sight, as the one that leads them knows it: nobody else tells of what is new.

import assert from "node:assert/strict";
import test from "node:test";

import { Source } from "./source.mjs";
import { Channel, become, crowd, opened, settled } from "./tab.mjs";

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
