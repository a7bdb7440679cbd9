import { ask } from "./server.js";
import { Timer } from "./timer.js";

const PERIOD = 5_000; // ms from one look to the next

// A window in sight that has no place for a stream (places.js) asks every PERIOD whether there is anything new, by a
// short request. If there is, or if the request fails, it opens the stream until that has reached the last id that
// the answer named, or until the next time. Its events are passed on as usual, and after each time
//   { kind: "turns", until }      all that there was is passed on; the next time is `until` (performance.now())
export class Turns {
  #timer = new Timer();
  #goal = null; // the id that the stream is to reach; null while it is closed

  // `position` is that of the window; `tell` is given what is to be told, of the stream as well.
  constructor(stream, path, position, tell) {
    Object.assign(this, { stream, path, position, tell });
  }

  start() {
    this.tell({ kind: "opening" });
    this.look();
  }

  async look() {
    const look = (this.last = {});
    this.#close();
    this.#timer.stop();
    let last;
    try {
      [, { lastEventId: last }] = await ask(`${this.path}?limit=1`);
    } catch {}
    if (look !== this.last) return;
    if (last === this.position() && !this.stream.isBehind) return this.#rest();
    this.#goal = last ?? Infinity; // no answer, or no right to read: the stream finds out why
    this.stream.reached = -1;
    this.stream.open();
    this.#timer.set(() => this.look(), PERIOD);
  }

  stop() {
    this.last = null;
    this.#timer.stop();
    this.#close();
  }

  // News of the stream.
  hear(news) {
    if (news.kind === "opening" || news.kind === "open") return;
    this.tell(news);
    if (news.kind === "event" && this.stream.reached >= this.#goal) this.#rest();
  }

  #close() {
    this.#goal = null;
    this.stream.close();
  }

  #rest() {
    this.#close();
    this.#timer.set(() => this.look(), PERIOD);
    this.tell({ kind: "turns", until: performance.now() + PERIOD });
  }
}
