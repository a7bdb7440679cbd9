// A stream of the page, whose connections are the test's.

import { Stream } from "../../../static/stream.js";
import { Clock } from "./clock.mjs";
import { Source } from "./source.mjs";

// `answers` are the statuses with which the page of messages is answered: 0 is none at all; in a list, what is not
// the chat's own.
export function open(test, position = 0, { isPrivate, answers = [] } = {}) {
  Source.all = [];
  globalThis.EventSource = Source;
  const asked = [];
  globalThis.fetch = async (path) => {
    asked.push(path);
    const status = answers.shift();
    if (!status) throw new TypeError("no network");
    if (status[0]) return { status: status[0], ok: status[0] === 200, headers: new Headers(), json: async () => JSON.parse("<html>") };
    const body = status < 400 ? { messages: [] } : { error: { code: "a_code" } };
    return { status, ok: status < 400, json: async () => body };
  };
  const clock = new Clock(test);
  const place = { position };
  const news = [];
  const stream = new Stream(
    "/rooms/tea/messages/",
    () => place.position,
    (each) => news.push(each),
    { isPrivate },
  );
  stream.open();
  const count = () => Source.all.length;
  return { clock, place, news, stream, count, asked };
}

// Lets the stream fail, and says after how many ms it was opened again.
export function delay(clock) {
  const before = Source.all.length;
  const failed = clock.now;
  Source.last.onerror();
  for (let ms = 0; ms <= 40_000 && Source.all.length === before; ms += 10) clock.run(10);
  return clock.now - failed;
}
