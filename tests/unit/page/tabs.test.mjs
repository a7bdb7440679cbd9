// A tab that leads or follows the others of its room; which the test plays, on their channel.

import assert from "node:assert/strict";
import test from "node:test";

import { Source } from "./source.mjs";
import { Channel, become, opened, rested, settled } from "./tab.mjs";

test("a tab that hears nothing of a leader for 5 seconds takes its place", async (t) => {
  const { clock, tabs, locks, said, hear, news } = await opened(t);
  assert.deepEqual(said(), ["hello"]);
  clock.run(3_000);
  tabs.hello("wake"); // to ask again is no reason to wait longer
  hear({ kind: "hello", last: 3, id: "another", sight: true }); // nor is one who asks as well
  assert.deepEqual(news, []);
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

test("a follower says whether it is in sight, and takes no lead once it has stopped", async (t) => {
  const { clock, page, tabs, channel, locks } = await opened(t);
  page.hidden = true;
  tabs.hello("online");
  assert.deepEqual(channel.posted.map(({ kind, sight }) => [kind, sight]), [["hello", true], ["online", false]]);
  tabs.stop();
  clock.run(6_000);
  assert.equal(locks.asked.length, 1);
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
  hear({ kind: "open" }); // from a leader that does not know yet that it has lost the lock
  assert.equal(channel.posted.length, 1);
  assert.equal(Source.all.length, 1);
  hear({ kind: "hello", last: 8, id: "two", sight: true });
  assert.match(Source.last.url, /lastEventId=8$/);
  assert.equal(Source.all.length, 2);
  clock.run(1_100);
  place.last = 12; // by the answer to a message of its own
  hear({ kind: "hello", last: 11, id: "two", sight: true });
  assert.match(Source.last.url, /lastEventId=11$/);
});

for (const [what, last, address] of [
  ["may be of a log that was replaced, and its place is asked for", 2, /lastEventId=9$/],
  ["that has loaded what is on its way here is right", 9, /lastEventId=7$/],
  ["is not doubted where the server cannot be reached", null, /lastEventId=7$/],
])
  test(`a tab beyond all that the leader has heard ${what}`, async (t) => {
    const { clock, hear, lead } = await opened(t);
    lead();
    clock.run(1_100);
    globalThis.fetch = async () => {
      if (last === null) throw new TypeError("no network");
      return { ok: true, status: 200, headers: new Headers(), json: async () => ({ messages: [], lastEventId: last }) };
    };
    hear({ kind: "hello", last: 9, id: "one", sight: true });
    await rested();
    assert.match(Source.last.url, address);
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
