import { Timer } from "./timer.js";

const EVENTS = ["stream-open", "message", "retraction", "stream-reset", "keep-alive"];
const KEEP_ALIVE = 22_000; // ms: the server is silent for 20 s at most
export const SILENCE = 50_000; // ms: a stream that is silent for so long is dead
const STABLE = 10_000; // ms: one that lived for so long forgets earlier failures
const FIRST_DELAY = 2_000; // ms until it is opened again, at most; doubled by each failure
const LAST_DELAY = 30_000; // ms, to which it is doubled

// One EventSource, made anew after any failure, from the position of that moment. Its news, by `tell`:
//   { kind: "opening" }           a stream is asked for
//   { kind: "open" }              the server has answered: with each event, but not before `stream-open`
//   { kind: "event", type, data, id }   an event, as it came: strings
//   { kind: "waiting", until }    it failed, and is opened again at that time (ms)
export class Stream {
  #source = null;
  #next = new Timer();
  #failures = 0;
  #opened = 0;
  #live = false;
  #heard = 0;
  #wanted = null; // an earlier position
  reached = 0; // the last id that came

  constructor(path, position, tell) {
    Object.assign(this, { path, position, tell });
  }

  open() {
    this.close();
    this.#opened = Date.now();
    this.#live = false;
    const source = new EventSource(`${this.path}?lastEventId=${this.#wanted ?? this.position()}`);
    this.#wanted = null;
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#event(event));
    source.onerror = () => this.#fail(); // by itself it gives up after a 502, and knows no back-off
    this.#source = source;
    this.#watch();
    this.tell({ kind: "opening" });
  }

  close() {
    this.#next.stop();
    this.#source?.close();
    this.#source = null;
  }

  // A computer may have slept: do not sit out a delay, nor trust a silent stream, or any of an old network.
  wake(online) {
    if (online || !this.#source || Date.now() - this.#heard > KEEP_ALIVE) this.open();
  }

  rewind(from) {
    this.#wanted = from;
    if (!this.#source) return;
    // Within a second it may be a loop, which is slowed down.
    if (Date.now() - this.#opened < 1_000) this.#fail();
    else this.open();
  }

  #event({ type, data, lastEventId: id }) {
    this.#watch();
    if (id) this.reached = Number(id); // it may be "0"
    this.#live ||= type === EVENTS[0]; // not so an answer of a proxy
    if (this.#live) this.tell({ kind: "open" });
    this.tell({ kind: "event", type, data, id });
  }

  #watch() {
    this.#heard = Date.now();
    this.#next.set(() => this.#fail(), SILENCE);
  }

  #fail() {
    this.close();
    if (Date.now() - this.#opened > STABLE) this.#failures = 0;
    const delay = Math.min(FIRST_DELAY * 2 ** this.#failures, LAST_DELAY) * (0.25 + 0.75 * Math.random());
    this.#failures += 1;
    this.#next.set(() => this.open(), delay);
    this.tell({ kind: "waiting", until: Date.now() + delay });
  }
}
