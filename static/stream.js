import { Timer } from "./timer.js";

const EVENTS = ["stream-open", "message", "retraction", "stream-reset", "keep-alive"];
const KEEP_ALIVE = 22_000; // the server is silent for 20 s at most
export const SILENCE = 50_000; // a stream that is silent for so long is dead
const STABLE = 10_000; // one that lived for so long forgets earlier failures
const FIRST_DELAY = 2_000; // at most, before the stream is opened again; doubles up to
const LAST_DELAY = 30_000;

// One EventSource, made anew after any failure, from the position of that moment.
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

  // The lid may have been opened: do not sit out a delay, nor trust a silent stream, or any of an old network.
  wake(online) {
    if (online || !this.#source || Date.now() - this.#heard > KEEP_ALIVE) this.open();
  }

  rewind(from) {
    this.#wanted = from;
    if (!this.#source) return;
    if (Date.now() - this.#opened < 1_000) this.#fail(); // a loop is slowed down
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
