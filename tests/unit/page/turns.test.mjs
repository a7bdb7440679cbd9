// How a window without a place for a stream hears what is new.

import assert from "node:assert/strict";
import test from "node:test";

import { Stream } from "../../../static/stream.js";
import { Turns } from "../../../static/turns.js";
import { Clock } from "./clock.mjs";
import { Source } from "./source.mjs";

const settled = () => new Promise((resolve) => setImmediate(resolve));

// A room whose last id is `room.last`; with `room.status` it answers otherwise.
function begin(test, position = 7) {
  Source.all = [];
  globalThis.EventSource = Source;
  const room = { last: position, status: 200, asked: 0, position };
  globalThis.fetch = async (path) => {
    assert.equal(path, "/rooms/tea/messages/?limit=1");
    room.asked += 1;
    if (!room.status) throw new TypeError("no network");
    return { status: room.status, json: async () => (room.status === 200 ? { lastEventId: room.last } : {}) };
  };
  const clock = new Clock(test);
  const news = [];
  const kinds = () => news.splice(0).map(({ kind }) => kind);
  const where = () => room.position;
  const stream = new Stream("/rooms/tea/messages/", where, (each) => turns.hear(each));
  const turns = new Turns(stream, "/rooms/tea/messages/", where, (each) => news.push(each));
  turns.start();
  const live = () => Source.all.filter(({ closed }) => !closed);
  return { clock, room, news, kinds, stream, turns, live };
}

function say(source, id, room) {
  source.say("message", JSON.stringify({ id }), String(id));
  room.position = id;
}

test("while there is nothing new it opens no stream, and looks every 5 seconds", async (t) => {
  const { clock, room, news, kinds, live } = begin(t);
  await settled();
  assert.equal(news.at(-1).until, clock.now - clock.began + 5_000);
  assert.deepEqual(kinds(), ["opening", "turns"]);
  for (const times of [1, 2, 3]) {
    assert.equal(room.asked, times);
    clock.run(5_000);
    await settled();
  }
  assert.deepEqual([kinds(), live()], [["turns", "turns", "turns"], []]);
});

test("what is new it gets by the stream, which is closed when all has come", async (t) => {
  const { clock, room, kinds, live } = begin(t);
  await settled();
  room.last = 9;
  kinds();
  clock.run(5_000);
  await settled();
  assert.deepEqual(kinds(), []);
  const [source] = live();
  assert.ok(source.url.endsWith("?lastEventId=7"));
  source.say("stream-open");
  say(source, 8, room);
  assert.deepEqual(kinds(), ["event", "event"]);
  clock.run(4_900); // it has the time until the next look
  assert.equal(room.asked, 2);
  say(source, 9, room);
  assert.deepEqual([kinds(), live()], [["event", "turns"], []]);
});

test("a log that is another one is noticed, and an emptied one", async (t) => {
  for (const last of [3, 0]) {
    const { clock, room, kinds, live, stream } = begin(t);
    await settled();
    stream.reached = 7; // when it had a place
    room.last = last;
    clock.run(5_000);
    await settled();
    kinds();
    const [source] = live();
    source.say("stream-open");
    source.say("stream-reset", `{"reason":"ahead","lastEventId":${last}}`, "0");
    for (let id = 1; id <= last; id += 1) {
      assert.equal(live().length, 1);
      say(source, id, room);
    }
    assert.equal(live().length, 0);
    assert.equal(kinds().at(-1), "turns");
  }
});

test("a stream that does not come to what there was is closed at the next look", async (t) => {
  const { clock, room, live } = begin(t);
  await settled();
  room.last = 9;
  clock.run(5_000);
  await settled();
  live()[0].say("stream-open");
  room.last = 7; // cleared meanwhile
  clock.run(5_000);
  assert.equal(live().length, 0);
  await settled();
  assert.equal(live().length, 0);
});

test("a position that another tab needs is asked for, though there is nothing new", async (t) => {
  const { clock, room, stream, turns, live } = begin(t);
  await settled();
  stream.rewind(5);
  turns.look();
  await settled();
  assert.ok(live()[0].url.endsWith("?lastEventId=5"));
  live()[0].say("stream-open");
  for (const id of [6, 7]) live()[0].say("message", `{"id":${id}}`, String(id));
  clock.run(5_000);
  await settled();
  assert.deepEqual([live(), room.asked], [[], 3]);
});

for (const status of [0, 401, 503])
  test(`if the look fails (${status}) the stream finds out why, and says so`, async (t) => {
    const { clock, room, kinds, live } = begin(t);
    await settled();
    room.status = status;
    clock.run(5_000);
    await settled();
    kinds();
    live()[0].onerror();
    assert.deepEqual(kinds(), ["waiting"]);
    room.status = 200;
    clock.run(5_000);
    await settled();
    assert.equal(kinds().at(-1), "turns");
    assert.equal(live().length, 0);
  });

test("a stream that is opened after a failed look goes on until the next one", async (t) => {
  const { clock, room, kinds, live } = begin(t);
  await settled();
  room.status = 503;
  clock.run(5_000);
  await settled();
  live()[0].say("stream-open");
  for (const id of [8, 9]) say(live()[0], id, room);
  assert.ok(!kinds().slice(2).includes("turns"));
  clock.run(5_000);
  assert.equal(live().length, 0);
});

test("who has a place again, or rests, looks no more", async (t) => {
  const { clock, room, kinds, live, turns } = begin(t);
  await settled();
  room.last = 9;
  clock.run(5_000);
  turns.stop(); // while it is asked
  await settled();
  clock.run(60_000);
  assert.deepEqual([live(), room.asked, kinds()], [[], 2, ["opening", "turns"]]);
});

test("nor who was between two looks, or had a stream for one", async (t) => {
  for (const last of [7, 9]) {
    const { clock, room, live, turns } = begin(t);
    room.last = last;
    await settled();
    assert.equal(live().length, last - 7 ? 1 : 0);
    turns.stop();
    assert.equal(live().length, 0);
    clock.run(60_000);
    await settled();
    assert.deepEqual([live(), room.asked], [[], 1]);
  }
});
