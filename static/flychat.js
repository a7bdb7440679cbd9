// A room of flychat, for any page, also one of another origin (docs/api.md): its stream (stream.js), read by the order
// rule (conversation.js). It may import these two only. The chat's own page uses them without `connect` and `post`, for
// its tabs share a stream, and its messages wait.

import { Conversation, keyOf } from "./conversation.js";
import { backOff, request, Stream, uuid } from "./stream.js";

export * from "./stream.js"; // for modules of the release before, which look for all of it here

const TRIES = 8; // of a post

// Gives the stored message, or throws an error with a `status`, if there was an answer, and a `code`. What was not
// answered, or with 429 or 5xx, is sent again: the provisional id makes that safe.
export async function post(url, message, { token } = {}) {
  const body = JSON.stringify({ provisionalId: uuid(), ...message });
  for (let failures = 0; ; failures += 1) {
    const [answer, said] = await request(url, { method: "POST", body, token }).catch(() => [{}, {}]);
    const { ok, status, headers } = answer;
    if (ok && said.id) return said;
    if ((status < 500 && status !== 429) || failures === TRIES - 1)
      throw Object.assign(new Error(said.error?.message ?? "no answer of flychat"), { status, ...said.error });
    const seconds = Number(headers?.get("Retry-After")) || 0;
    await new Promise((goOn) => setTimeout(goOn, Math.max(seconds * 1_000, backOff(failures))));
  }
}

export const connect = (url, options) => new Connection(url, options);

// `position` is the last id that is known; without one it begins with the newest 50 messages. Its events:
//   message      { message, key }: an official one, which has an `id`, or a provisional one; an official one takes the
//                place of the provisional one of the same `key`. It may say what it `removes`: ids
//   retraction   { message, key }: a provisional one will not become official
//   reset        { replaced, missed }: nothing of what is shown stays; it is another log, or so many were missed
//   signal       { signal }
//   status       { state, until, login }: see Stream
//   end          { reason }: the room may not be read any more
class Connection extends EventTarget {
  constructor(url, { position = null, token, provisional = true } = {}) {
    super();
    this.conversation = new Conversation(position);
    const tell = ({ kind: state, ...news }) => {
      if (state === "event") this.#take(news);
      else if (state === "ended") this.#emit("end", news);
      else this.#emit("status", { state, ...news });
    };
    this.stream = new Stream(url, () => this.position, tell, { token, provisional });
    this.stream.open();
  }

  get position() {
    return this.conversation.last;
  }

  close() {
    this.stream.tell = () => {}; // of an answer that is on its way
    this.stream.close();
  }

  #take(event) {
    if (event.type === "signal") return this.#emit("signal", { signal: JSON.parse(event.data) });
    const { kind, message, row, rows, replaced, missed } = this.conversation.take(event);
    if (kind === "gap") this.stream.rewind(this.position);
    if (kind === "reset") this.#emit("reset", { replaced, missed });
    if (kind === "provisional") this.conversation.add({ message });
    if (kind === "provisional" || kind === "official")
      this.#emit("message", { message, key: keyOf(row?.message ?? message) });
    for (const row of kind === "retraction" ? rows : []) {
      this.conversation.remove(row);
      this.#emit("retraction", { message: row.message, key: keyOf(row.message) });
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), detail));
  }
}
