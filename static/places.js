import { Timer } from "./timer.js";

const PLACES = 5; // streams in one browser: of the six connections that it opens to a server, one is for requests
const ANSWER = 2_000; // ms, within which every window answers when it is asked
const SEEK = 5_000; // ms, after which a window in sight without a place asks again
const CHANNEL = "flychat:places"; // one for all rooms, sessions and base paths: they share the connections

// Which windows of a browser may keep a stream. Over HTTP/1.1 a browser opens six connections to a server, whatever
// the number of its windows, and each stream takes one. A seventh request of any kind waits until one is closed.
//
// The rule: all windows that want a stream are in one order, and the first five have a place. Windows in sight come
// first, the one that came into sight first before the others; then those out of sight, the one that was in sight
// last before the others.
//
// No window decides for the others. Each tells all when it comes, moves in the order or goes, and asks them where
// they stand. As all know the same, all find the same five. A window that comes does not wait for the answers: it
// takes a place at once, and gives it back if it turns out to have none; so does the one that it has displaced. So
// for some milliseconds there may be six streams. A window that has crashed does not answer, and is left out then.
//
// Over HTTP/2 and 3 there is no such limit: every window has a place. Without a BroadcastChannel those in sight have.
//
// The channel carries, with an `id` of the window:
//   { kind: "here", id, hidden, since, asks }   it wants a stream; `asks`: answer with the same
//   { kind: "gone", id }                        it does not want one any more
export class Places {
  #id = crypto.getRandomValues(new Uint32Array(2)).join("-");
  #me = null; // { id, hidden, since }
  #others = new Map(); // id -> the same
  #silent = new Set(); // ids that have not answered yet
  #channel = null;
  #answers = new Timer();
  #seek = new Timer();

  // `changed` is called when this window gets a place or loses it, but not by what it does itself.
  constructor(changed) {
    this.changed = changed;
    this.isLimited = !/^h[23]/.test(performance.getEntriesByType("navigation")[0]?.nextHopProtocol);
  }

  // Whether this window may keep a stream.
  get has() {
    if (!this.isLimited || !this.#me) return !this.isLimited;
    if (!this.#channel) return !this.#me.hidden;
    return [...this.#others.values()].filter((other) => isBefore(other, this.#me)).length < PLACES;
  }

  // It wants a stream, in sight or out of it.
  want(hidden) {
    if (!this.isLimited || this.#me?.hidden === hidden) return;
    this.#me = { id: this.#id, hidden, since: Date.now() };
    try {
      this.#channel ??= new BroadcastChannel(CHANNEL);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
    } catch {}
    this.#ask();
  }

  leave() {
    this.#answers.stop();
    this.#seek.stop();
    this.#channel?.postMessage({ kind: "gone", id: this.#id });
    this.#channel?.close();
    this.#channel = this.#me = null;
    this.#others.clear();
  }

  #say(asks) {
    this.#channel?.postMessage({ kind: "here", ...this.#me, asks });
  }

  #ask() {
    this.#silent = new Set(this.#others.keys());
    this.#say(true);
    this.#answers.set(() => this.#update(() => this.#silent.forEach((id) => this.#others.delete(id))), ANSWER);
    this.#lookOut();
  }

  #hear({ kind, asks, id, ...other }) {
    this.#silent.delete(id);
    this.#update(() => (kind === "here" ? this.#others.set(id, { id, ...other }) : this.#others.delete(id)));
    if (asks) this.#say(false);
  }

  #update(change) {
    const had = this.has;
    change();
    if (had === this.has) return;
    this.#lookOut();
    this.changed();
  }

  // Somebody before this window may have ended without a word.
  #lookOut() {
    this.#seek.stop();
    if (!this.has && !this.#me.hidden) this.#seek.set(() => this.#ask(), SEEK);
  }
}

const isBefore = (one, other) => {
  if (one.hidden !== other.hidden) return other.hidden;
  const later = one.since - other.since || (one.id < other.id ? -1 : 1);
  return one.hidden ? later > 0 : later < 0;
};
