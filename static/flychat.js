import { ask, isLogin } from "./server.js";
import { backOff, Timer } from "./timer.js";

const EVENTS = ["stream-open", "message", "retraction", "stream-reset", "keep-alive"];
const END = "stream-end";
const KEEP_ALIVE = 22_000; // ms: the server is silent for 20 s at most
export const SILENCE = 50_000; // ms: a stream that is silent for so long is dead
const STABLE = 10_000; // ms: one that lived for so long forgets earlier failures
const DOUBT = 3; // failures in a row, after which it is asked whether the room may still be read

// One EventSource, made anew after any failure, from the position of that moment. Why it failed, a browser does
// not tell. So in a private room, or after some failures, the page of messages is asked for as well: its answer
// has a status, and says whether the right to read has ended. Then no stream is asked for any more.
//
// Its news, by `tell`:
//   { kind: "opening" }           a stream is asked for
//   { kind: "open" }              the server has answered: with each event, but not before `stream-open`
//   { kind: "event", type, data, id }   an event, as it came: strings
//   { kind: "waiting", until, login }    it failed, and is opened again at that time (performance.now());
//                                 `login`: something else answers in place of the server
//   { kind: "ended", reason }     for good: "expired", "revoked", "private"
export class Stream {
  #source = null;
  #next = new Timer();
  #failures = 0;
  #opened = 0;
  #live = false;
  #heard = [0, 0];
  #wanted = null; // an earlier position
  #until = 0; // performance.now() of the next try
  #login = false; // something else answers in place of the server
  #reason = null; // that the server gave for an end
  reached = 0; // the last id that came

  constructor(path, position, tell, isPrivate = false) {
    Object.assign(this, { path, position, tell, isPrivate });
  }

  open() {
    this.close();
    this.#opened = performance.now();
    this.#live = false;
    const source = new EventSource(`${this.path}?lastEventId=${this.#wanted ?? this.position()}`);
    this.#wanted = null;
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#event(event));
    source.addEventListener(END, ({ data }) => this.#fail(JSON.parse(data).reason));
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

  get isOpen() {
    return Boolean(this.#source);
  }

  // It is to be opened from an earlier position.
  get isBehind() {
    return this.#wanted !== null;
  }

  // A computer may have slept: do not sit out a delay, nor trust a silent stream, or any of an old network.
  wake(online) {
    if (online || !this.#source || this.#silent > KEEP_ALIVE) this.open();
  }

  // In some browsers performance.now() stands still while the computer sleeps.
  get #silent() {
    return Math.max(performance.now() - this.#heard[0], Date.now() - this.#heard[1]);
  }

  rewind(from) {
    this.#wanted = from;
    if (!this.#source) return;
    // Within a second it may be a loop, which is slowed down.
    if (performance.now() - this.#opened < 1_000) this.#fail();
    else this.open();
  }

  #event({ type, data, lastEventId: id }) {
    this.#watch();
    if (id) this.reached = Number(id); // it may be "0"
    this.#live ||= type === EVENTS[0]; // not so an answer of a proxy
    if (this.#live) this.#login = false;
    if (this.#live) this.tell({ kind: "open" });
    this.tell({ kind: "event", type, data, id });
  }

  #watch() {
    this.#heard = [performance.now(), Date.now()];
    this.#next.set(() => this.#fail(), SILENCE);
  }

  #fail(reason) {
    this.close();
    if (performance.now() - this.#opened > STABLE) this.#failures = 0;
    const delay = backOff(this.#failures);
    this.#failures += 1;
    this.#next.set(() => this.open(), delay);
    this.#until = performance.now() + delay;
    this.#wait();
    this.#reason = reason ?? this.#reason;
    if (this.isPrivate || this.#reason || this.#failures >= DOUBT) this.#doubt();
  }

  #wait(login = this.#login) {
    this.#login = login;
    this.tell({ kind: "waiting", until: this.#until, login });
  }

  async #doubt() {
    const opened = this.#opened;
    let answer, body;
    try {
      [answer, body] = await ask(`${this.path}?limit=1`);
    } catch {
      return; // the server cannot be reached: it is asked again after the next failure
    }
    if (this.#opened !== opened && this.#live) return; // a stream that was opened meanwhile is a better answer
    const login = isLogin(answer, body);
    if (login || this.#login) this.#wait(login);
    if (login) return;
    if (answer.status !== 401 && answer.status !== 403) return (this.#reason = null);
    this.close();
    this.tell({ kind: "ended", reason: this.#reason ?? "private" });
  }
}
