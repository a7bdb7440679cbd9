// A room for any page: what it is told, with and without a token.

import assert from "node:assert/strict";
import test from "node:test";

import { connect } from "../../../static/flychat.js";
import { Clock } from "./clock.mjs";
import { Source } from "./source.mjs";
import { rested } from "./tab.mjs";

const ROOM = "https://chat.example.org/rooms/tea/messages/";
const message = (id, key = id) => ({
  ...(id && { id }),
  from: "Ann",
  text: `text ${key}`,
  provisionalId: `${key}`,
});

// What a connection tells, in short.
function listen(room) {
  const told = [];
  const note = (type, tell) => room.addEventListener(type, (event) => told.push([type, ...tell(event)]));
  note("message", ({ message: { id, text } }) => [id ?? null, text]);
  note("retraction", ({ key }) => [key.split("\n").at(-1)]);
  note("reset", ({ replaced, missed }) => [replaced, missed]);
  note("signal", ({ signal }) => [signal.kind]);
  note("status", ({ state }) => [state]);
  note("end", ({ reason }) => [reason]);
  return told;
}

function begin(test, options) {
  Source.all = [];
  globalThis.EventSource = Source;
  const clock = new Clock(test);
  const room = connect(ROOM, options);
  return { clock, room, told: listen(room) };
}

const say = (type, data, id = "") => Source.last.say(type, JSON.stringify(data), String(id));

test("it begins with the newest messages, or after a position", (t) => {
  for (const [options, query] of [
    [undefined, ""],
    [{ position: 0 }, "lastEventId=0"],
    [{ position: 7, provisional: false }, "lastEventId=7&provisional=no"],
  ]) {
    const { room } = begin(t, options);
    assert.equal(Source.last.url, `${ROOM}?${query}`);
    room.close();
  }
});

test("official messages come once each, in their order; a gap is asked for", (t) => {
  const { clock, room, told } = begin(t);
  say("stream-open", {});
  for (const id of [41, 42, 41]) say("message", message(id), id);
  clock.run(2_000);
  say("message", message(44), 44);
  assert.equal(Source.all.length, 2);
  assert.ok(Source.last.url.endsWith("?lastEventId=42"));
  say("stream-open", {});
  for (const id of [43, 44]) say("message", message(id), id);
  assert.deepEqual(
    told.filter(([type]) => type === "message").map(([, id]) => id),
    [41, 42, 43, 44],
  );
  assert.equal(room.position, 44);
});

test("a provisional message is told once, and not after its official one", (t) => {
  const { told } = begin(t, { position: 0 });
  for (const key of [1, 1, 2]) say("message", message(null, key));
  say("message", message(1), 1);
  say("message", message(null, 1));
  say("retraction", { provisionalId: "2" });
  say("retraction", { provisionalId: "2" });
  say("signal", { from: "Ann", kind: "typing" });
  say("message", message(null, 2));
  assert.deepEqual(told, [
    ["message", null, "text 1"],
    ["message", null, "text 2"],
    ["message", 1, "text 1"],
    ["retraction", "2"],
    ["signal", "typing"],
    ["message", null, "text 2"],
  ]);
});

test("what is left of an erased person's message comes under the key of the provisional one", (t) => {
  const { room } = begin(t, { position: 0 });
  const keys = [];
  room.addEventListener("message", ({ key }) => keys.push(key));
  say("message", message(null, 1));
  say("message", { ...message(1), from: "[erased]", text: "", removed: 9 }, 1);
  assert.equal(keys[1], keys[0]);
});

test("after a reset it begins anew", (t) => {
  const { room, told } = begin(t, { position: 7 });
  say("stream-reset", { reason: "ahead", lastEventId: 2 }, 1);
  say("message", message(2), 2);
  assert.deepEqual(told, [
    ["reset", true, 0],
    ["message", 2, "text 2"],
  ]);
  assert.equal(room.position, 2);
});

test("it says how the stream is, and nothing when it is closed", (t) => {
  const { clock, room, told } = begin(t);
  say("stream-open", {});
  Source.last.onerror();
  assert.deepEqual(told, [
    ["status", "open"],
    ["status", "waiting"],
  ]);
  room.close();
  clock.run(60_000);
  assert.equal(Source.all.length, 1);
});

// A server that answers streams with these: a status, or texts, so many bytes at a time, and null ends one. It
// notes the requests.
function serve(answers, size = 1) {
  const asked = [];
  globalThis.fetch = async (url, { headers, signal }) => {
    asked.push([url.replace(ROOM, ""), headers.Authorization]);
    const answer = answers.shift() ?? [];
    if (typeof answer === "number") return { ok: false, status: answer, json: async () => ({ error: { code: "x" } }) };
    const bytes = [...new TextEncoder().encode(answer.join(""))];
    const ends = answer.at(-1) === null;
    const read = () => {
      if (signal.aborted) return Promise.reject(new Error("aborted"));
      if (bytes.length) return Promise.resolve({ value: Uint8Array.from(bytes.splice(0, size)) });
      if (ends) return Promise.resolve({ done: true });
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
    };
    return { ok: true, status: 200, body: { getReader: () => ({ read }) } };
  };
  return asked;
}

const block = (type, data, id) => `event: ${type}\ndata: ${JSON.stringify(data)}\n${id ? `id: ${id}\n` : ""}\n`;

test("with a token it reads the stream itself, however its bytes are cut", async (t) => {
  const clock = new Clock(t);
  const asked = serve([
    ["event: stream-open\nretry: 2000\ndata: {}\n\n", block("message", { ...message(1), text: "a: ü 🙂" }, 1)],
  ]);
  let given = 0;
  const room = connect(ROOM, { position: 0, token: async () => `token ${(given += 1)}` });
  const told = listen(room);
  await rested();
  assert.deepEqual(asked, [["?lastEventId=0", "Bearer token 1"]]);
  assert.deepEqual(told, [
    ["status", "open"],
    ["status", "open"],
    ["message", 1, "a: ü 🙂"],
  ]);
  clock.run(51_000); // silence
  clock.run(2_000);
  await rested();
  assert.deepEqual(asked[1], ["?lastEventId=1", "Bearer token 2"]);
  room.close();
});

test("with a token, too, a reset is followed from the position that it gives", async (t) => {
  new Clock(t);
  serve([[block("stream-reset", { reason: "ahead", lastEventId: 2 }, 1)]]);
  const room = connect(ROOM, { position: 7, token: "secret" });
  await rested();
  assert.equal(room.position, 1);
  room.close();
});

test("what is closed tells nothing more, though it may have come already", async (t) => {
  const clock = new Clock(t);
  const asked = serve([[1, 2].map((id) => block("message", message(id), id))], 10_000);
  const room = connect(ROOM, { position: 0, token: "secret" });
  const told = listen(room);
  room.addEventListener("message", () => room.close());
  await rested();
  clock.run(60_000);
  await rested();
  assert.deepEqual([told, asked.length], [[["message", 1, "text 1"]], 1]);
});

test("what is closed tells nothing of an answer that comes later", async (t) => {
  const clock = new Clock(t);
  serve([401, 401]);
  const room = connect(ROOM, { token: "secret" });
  const told = listen(room);
  room.addEventListener("status", ({ state }) => state === "waiting" && room.close());
  await rested();
  clock.run(60_000);
  await rested();
  assert.deepEqual(told, [["status", "waiting"]]);
});

test("who closes a room at a status has the position from before the event that comes with it", (t) => {
  const { room, told } = begin(t, { position: 6 });
  say("stream-open", {});
  room.addEventListener("status", () => room.close());
  say("message", message(7), 7);
  assert.deepEqual([told.at(-1), room.position], [["status", "open"], 6]);
});

for (const status of [401, 403])
  test(`a token that is refused with ${status} is the end, at once`, async (t) => {
    const clock = new Clock(t);
    const asked = serve([status, status]);
    const told = listen(connect(ROOM, { token: "secret" }));
    await rested();
    assert.deepEqual(told.at(-1), ["end", "private"]);
    clock.run(600_000);
    await rested();
    assert.deepEqual(asked, [
      ["?", "Bearer secret"],
      ["?limit=1", "Bearer secret"],
    ]);
  });

test("a server that is gone, or has no room, is asked again", async (t) => {
  const clock = new Clock(t);
  const asked = serve([503, [block("stream-open", {})]]);
  const room = connect(ROOM, { token: "secret" });
  const told = listen(room);
  await rested();
  clock.run(2_000);
  await rested();
  assert.equal(asked.length, 2);
  assert.deepEqual(told.at(-1), ["status", "open"]);
  room.close();
});

test("a stream that has ended is asked for again, after a while", async (t) => {
  const clock = new Clock(t);
  const asked = serve([[block("stream-open", {}), null], [block("stream-open", {})]]);
  const room = connect(ROOM, { token: "secret" });
  const told = listen(room);
  await rested();
  assert.deepEqual([told.at(-1), asked.length], [["status", "waiting"], 1]);
  clock.run(2_000);
  await rested();
  assert.deepEqual([told.at(-1), asked.length], [["status", "open"], 2]);
  room.close();
});
