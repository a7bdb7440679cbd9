import { SILENCE, Stream } from "./stream.js";
import { Timer } from "./timer.js";

const SLOTS = 4; // streams that tabs out of sight may keep, of the six connections that a browser has
const ANSWER = 5_000; // ms: a leader that does not answer a follower within them is replaced
const LATE = 1_000; // ms that a leader may be late with what it has announced

// One stream for all tabs of a room and a session: a browser opens six connections to a server and no more. The tab that
// holds the lock leads, and passes every event on. A tab that starts, wakes up or finds a gap says `hello`
// with its position, and a leader that is beyond it rewinds. A leader that does not answer loses the lock.
//
// For the sake of other rooms, a leader out of sight keeps its stream only for a tab in sight, or with one of
// a few locks of the whole browser (over plain http there are none). Else it rests until it is looked at: the
// price is that it does not count unread messages.
//
// News of the stream (stream.js) go to `take` here and, over the channel, in all other tabs. It also carries:
//   { kind: "leader" }            from a new leader: say hello
//   { kind: "rest" }              from the leader: the stream is closed, as nobody seems to look
//   { kind: "hello", last }       from a follower: this is my position, send what I lack
//   { kind: "wake", last }        the same, and: somebody looks at me, so make sure that the stream lives
//   { kind: "online", last }      as hello (that the network is a new one, the leader notices by itself)
//   { kind: "rest", last }        from a follower: I am out of sight now
// Tabs of two releases share the channel: kinds may be added, and those there are keep their meaning for one
// release.
export class Tabs {
  #channel = null;
  #release = null; // of the lock, in the leader
  #slot = null; // release of a lock of the browser's
  #asking = null; // for the lock
  #patience = new Timer();
  #silence = new Timer();
  #state = null;

  // The session is in the name: another one, in the same browser, may have other rights.
  constructor(path, position, take, { session, isPrivate } = {}) {
    Object.assign(this, { position, take, name: ["flychat", ...(session ? [session] : []), path].join(":") });
    const tell = (news) => {
      if (news.kind !== "event") this.#state = news;
      this.#post(news);
      take(news);
    };
    this.stream = new Stream(path, position, tell, isPrivate);
  }

  get #leads() {
    return this.#release || !this.#channel;
  }

  start() {
    try {
      if (navigator.locks) this.#channel = new BroadcastChannel(this.name);
    } catch {}
    if (!this.#channel) return this.#open(); // plain http, or a browser that denies them: one each
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#ask();
    this.hello();
  }

  stop() {
    if (!this.#leads) this.rest();
    const asking = this.#asking;
    this.#asking = null;
    asking?.abort();
    this.#calm();
    this.stream.close();
    this.#release?.();
    this.#slot?.();
    this.#release = this.#slot = null;
    this.#channel?.close();
    this.#channel = null;
  }

  hello(kind = "hello") {
    const last = this.position();
    if (!this.#leads) {
      this.#post({ kind, last });
      this.#patience.id ?? this.#patience.set(() => this.#ask(true), ANSWER);
    } else if (kind === "hello") this.stream.rewind(last);
    else {
      this.stream.wake(kind === "online");
      this.rest();
    }
  }

  // A tab went out of sight: perhaps it was the last one.
  async rest() {
    if (!this.#leads) return this.#post({ kind: "rest", last: this.position() });
    if (document.hidden && this.#channel) await this.#takeSlot();
    if (!document.hidden || this.#slot) return;
    this.stream.close();
    this.#state = { kind: "rest" };
    this.#post(this.#state);
  }

  async #takeSlot() {
    for (let number = 0; number < SLOTS && !this.#slot; number += 1)
      await new Promise((asked) => {
        navigator.locks.request(`flychat:slot:${number}`, { ifAvailable: true }, (lock) => {
          asked();
          return lock && new Promise((release) => (this.#slot = release));
        });
      });
  }

  #open() {
    this.stream.open();
    this.rest();
  }

  async #ask(steal = false) {
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    try {
      const how = steal ? { steal } : { signal: asking.signal };
      await navigator.locks.request(this.name, how, () => this.#lead());
    } catch (error) {
      if (this.#asking !== asking) return; // by this tab itself
      this.stop();
      const taken = error.name === "AbortError"; // by another tab, or else there are no locks here
      if (taken) this.start();
      else this.#open();
    }
  }

  #lead() {
    if (!this.#channel) return null;
    this.#calm();
    const led = new Promise((resolve) => (this.#release = resolve));
    this.#open();
    this.#post({ kind: "leader" });
    return led;
  }

  #hear(news) {
    const asks = "last" in news; // or else it comes from the leader
    if (asks && this.#release) this.#serve(news);
    else if (!asks && !this.#release) this.#follow(news);
  }

  #serve({ kind, last }) {
    if (kind === "rest") return document.hidden && this.rest();
    if (kind === "wake") this.stream.wake();
    this.#post(this.#state);
    const reached = Math.max(this.stream.reached, this.position());
    if (last < reached) this.stream.rewind(last);
  }

  #follow(news) {
    this.#calm();
    if (news.kind === "rest") return document.hidden || this.hello("wake");
    const { kind, wait } = news; // timers of a hidden leader may be late
    this.#silence.set(() => this.hello("wake"), wait === undefined ? SILENCE : wait + LATE);
    if (kind === "leader") this.hello();
    else this.take(wait === undefined ? news : { ...news, until: performance.now() + wait });
  }

  #calm() {
    this.#patience.stop();
    this.#silence.stop();
  }

  // A time is of one tab only: to others it is said how long that is.
  #post(news) {
    const until = news?.until;
    this.#channel?.postMessage(until === undefined ? news : { ...news, wait: until - performance.now() });
  }
}
