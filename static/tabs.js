import { SILENCE, Stream, uuid } from "./stream.js";
import { Places } from "./places.js";
import { ask } from "./server.js";
import { pause, Timer } from "./timer.js";
import { Turns } from "./turns.js";

const ANSWER = 5_000; // ms: a leader that does not answer a follower within them is replaced
const LATE = 1_000; // ms by which a leader may be late with what it has announced
const SIGHT = 2_000; // ms within which every tab in sight answers when it is asked
const HEARD = 1_000; // ms within which followers hear that a stream has ended: a lock may be faster

// One stream for all tabs of a room and a session: a browser opens six connections to a server and no more. The tab that
// holds the lock leads, and passes every event on. A tab that starts, wakes up or finds a gap says `hello`
// with its position, and a leader that is beyond it rewinds. A leader that does not answer loses the lock.
//
// To leave connections for other rooms, a leader keeps its stream only with one of the browser's few places
// (places.js), for which it counts as in sight if any tab of the room is. Without a place it asks now and then
// (turns.js) while it is in sight. Else it rests: then it does not count unread messages.
//
// News of the stream (stream.js) go to `take` here and, over the channel, in all other tabs. It also carries:
//   { kind: "leader" }            from a new leader: say hello
//   { kind: "rest" }              from the leader: no tab seems to be in sight, and the stream may be closed
//   { kind: "hello", last }       from a follower: this is my position, send what I lack
//   { kind: "wake", last }        the same, and: I am in sight, so make sure that the stream lives
//   { kind: "online", last }      as wake, in sight or not: there may be a connection again
//   { kind: "rest", last }        from a follower: I am out of sight now
// Followers also send their `id` and whether they are in `sight`. (Those of an earlier release do not: they are if
// they `wake`.) A leader out of sight remembers which followers are in sight; it asks them when it goes out of sight,
// or when another tab does. Tabs of two releases share the channel: kinds may be added, and those that there are keep
// their meaning for one release.
export class Tabs {
  #channel = null;
  #release = null; // of the lock, in the leader
  #on = false;
  #id = uuid();
  #looking = new Set(); // ids of the followers in sight
  #silent = null; // those of them that have not answered yet
  #asked = null; // a promise: until it is done they may answer
  #mode = null; // of the stream: "open", "turns", "rest"
  #asking = null; // for the lock
  #patience = new Timer();
  #silence = new Timer();
  #state = null;

  // The session is in the name: another one, in the same browser, may have other rights.
  constructor(path, position, take, { session, isPrivate } = {}) {
    Object.assign(this, { path, position, take, name: ["flychat", ...(session ? [session] : []), path].join(":") });
    const tell = (news) => {
      if (news.kind !== "event") this.#state = news;
      this.#post(news);
      take(news);
    };
    const hear = (news) => (this.#mode === "turns" ? this.turns.hear(news) : tell(news));
    this.stream = new Stream(path, position, hear, { isPrivate });
    this.turns = new Turns(this.stream, path, position, tell);
    this.places = new Places(() => this.#arrange());
  }

  get #leads() {
    return this.#release || !this.#channel;
  }

  get #unseen() {
    return document.hidden && !this.#looking.size;
  }

  // Whether nobody looks at the room, and this tab speaks for all of it. Who is asked has time to answer.
  async speaks() {
    if (this.#unseen) await this.#asked;
    return Boolean(this.#leads) && this.#unseen;
  }

  start() {
    if (this.#on) return;
    this.#on = true;
    try {
      if (navigator.locks) this.#channel = new BroadcastChannel(this.name);
    } catch {}
    if (!this.#channel) return this.#arrange(); // plain http, or a browser that denies them: one each
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#ask();
    this.hello();
  }

  stop() {
    this.#on = false; // a page that is left is told afterwards that it is out of sight
    if (!this.#leads) this.rest();
    const asking = this.#asking;
    this.#asking = null;
    asking?.abort();
    this.#calm();
    this.#set(null);
    this.places.leave();
    if (this.#state?.kind === "ended" && this.#release) setTimeout(this.#release, HEARD);
    else this.#release?.();
    this.#release = null;
    this.#looking.clear();
    this.#silent = null;
    this.#channel?.close();
    this.#channel = null;
  }

  hello(kind = "hello") {
    const last = this.position();
    if (!this.#leads) {
      this.#post({ kind, last, id: this.#id, sight: !document.hidden });
      this.#patience.id ?? this.#patience.set(() => this.#ask(true), ANSWER);
    } else if (kind === "hello") this.#rewind(last);
    else this.#wake(kind === "online");
  }

  // A tab went out of sight: perhaps it was the last one.
  rest() {
    if (!this.#leads) return this.#post({ kind: "rest", last: this.position(), id: this.#id, sight: false });
    if (document.hidden) this.#askWhoLooks({ kind: "rest" });
    this.#arrange();
  }

  // Who looks says so. A tab that has ended without a word does not, and is forgotten.
  async #askWhoLooks(question) {
    const silent = (this.#silent = new Set(this.#looking));
    this.#post(question);
    await (this.#asked = pause(SIGHT));
    if (silent !== this.#silent) return;
    for (const id of silent) this.#looking.delete(id);
    this.#arrange();
  }

  #arrange() {
    if (!this.#on) return;
    this.places.want(this.#unseen);
    this.#set(this.places.has ? "open" : this.#unseen ? "rest" : "turns");
  }

  #set(mode) {
    if (mode === this.#mode) return;
    this.turns.stop();
    this.#mode = mode;
    if (mode === "open") this.stream.open();
    if (mode === "turns") this.turns.start();
    if (mode === "rest") this.#post((this.#state = { kind: "rest" }));
  }

  #wake(online) {
    const before = this.#mode;
    this.#arrange();
    if (this.#mode !== before) return;
    if (before === "open") this.stream.wake(online);
    else if (before === "turns") this.turns.look();
  }

  #rewind(from) {
    this.stream.rewind(from);
    if (this.#mode === "turns" && !this.stream.isOpen) this.turns.look();
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
      if (taken) return this.start();
      this.#on = true;
      this.#arrange();
    }
  }

  #lead() {
    if (!this.#channel) return null;
    this.#calm();
    const led = new Promise((resolve) => (this.#release = resolve));
    this.#arrange();
    this.#askWhoLooks({ kind: "leader" });
    return led;
  }

  #hear(news) {
    const asks = "last" in news; // or else it comes from the leader
    if (asks && this.#release) this.#serve(news);
    else if (!asks && !this.#release) this.#follow(news);
  }

  #serve({ kind, last, id, sight = kind === "wake" }) {
    this.#silent?.delete(id);
    this.#looking[sight ? "add" : "delete"](id);
    if (kind === "rest") return document.hidden && this.rest();
    if (kind === "wake" || kind === "online") this.#wake();
    else this.#arrange();
    this.#post(this.#state);
    const reached = Math.max(this.stream.reached, this.position());
    if (last < reached) this.#rewind(last);
    else if (last > reached) this.#doubt(last);
  }

  // The stream may be late. Or the log was replaced while that tab was away: a stream from beyond it is told so.
  async #doubt(last) {
    const [, { lastEventId }] = await ask(`${this.path}?limit=1`).catch(() => [, {}]);
    if (lastEventId < last) this.#rewind(last);
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
