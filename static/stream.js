// The stream of a room, made anew after every failure, and what one request to the server is: for the chat's own page
// and, by flychat.js, for any other.

const EVENTS = ["stream-open", "message", "retraction", "stream-reset", "signal", "keep-alive"];
const END = "stream-end";
const KEEP_ALIVE = 22_000; // ms: the server is silent for 20 s at most
export const SILENCE = 50_000; // ms: a stream that is silent for so long is dead
const STABLE = 10_000; // ms: one that lived for so long forgets earlier failures
const DOUBT = 3; // failures in a row, after which it is asked whether the room may still be read
const FIRST_DELAY = 2_000; // ms until what failed is tried again, at most; doubled by each failure
const LAST_DELAY = 30_000; // ms, to which it is doubled
const TIMEOUT = 20_000; // ms for an answer

export const backOff = (failures) =>
  Math.min(FIRST_DELAY * 2 ** failures, LAST_DELAY) * (0.25 + 0.75 * Math.random());

// Over plain http there is no crypto.randomUUID.
export function uuid() {
  const digit = (mask) => (mask ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (mask / 4)))).toString(16);
  return "00000000-0000-4000-8000-000000000000".replace(/[08]/g, digit);
}

// A token is a string, or a function, also an async one, that is called before each request.
const bearing = async (token) => ({
  Authorization: `Bearer ${typeof token === "function" ? await token() : token}`,
});

// `user`: whose session it is to be, or nothing is done. It is the browser's, and may be another one's by now.
export async function request(url, { token, user, ...options } = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  if (user) headers["Flychat-User"] = encodeURIComponent(user);
  if (token) Object.assign(headers, await bearing(token));
  const signal = AbortSignal.timeout(TIMEOUT);
  const answer = await fetch(url, { headers, signal, redirect: "manual", ...options });
  const said = await answer.json().catch((error) => {
    if (answer.ok && /json/.test(answer.headers.get("Content-Type"))) throw error; // it was cut: that is no answer
  });
  return [answer, said ?? {}];
}

// Whether something else has answered in place of the server: a login that stands in front and has ended, or a
// network's welcome. The server's own answers are JSON, its errors with a code.
export const isLogin = ({ type, ok, status }, body) =>
  type === "opaqueredirect" ||
  (ok && !Object.keys(body).length) ||
  ((status === 401 || status === 403) && !body.error?.code);

// One EventSource, made anew after any failure, from the position of that moment. Why it failed, a browser does
// not tell. So in a private room, or after some failures, the page of messages is asked for as well: its answer
// has a status, and says whether the right to read has ended. Then no stream is asked for any more. With a token,
// which an EventSource cannot send, it is a Reader.
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
  #next; // timer: of the next try, or of the end of patience
  #failures = 0;
  #opened = 0;
  #live = false;
  #heard = [0, 0];
  #wanted = null; // an earlier position
  #until = 0; // performance.now() of the next try
  #login = false; // something else answers in place of the server
  #reason = null; // that the server gave for an end
  reached = 0; // the last id that came

  // `position` gives the id to go on after: null, if none is known, for the newest messages.
  constructor(path, position, tell, { isPrivate = false, token, provisional = true } = {}) {
    Object.assign(this, { path, position, tell, isPrivate, token, provisional });
  }

  open() {
    this.close();
    this.#opened = performance.now();
    this.#live = false;
    const from = this.#wanted ?? this.position();
    const query = new URLSearchParams(from === null ? {} : { lastEventId: from });
    if (!this.provisional) query.set("provisional", "no");
    const url = `${this.path}?${query}`;
    const source = this.token ? new Reader(url, this.token) : new EventSource(url);
    this.#wanted = null;
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#event(event));
    source.addEventListener(END, ({ data }) => this.#fail(JSON.parse(data)));
    source.onerror = (failure) => this.#fail(failure); // by itself it gives up after a 502, and knows no back-off
    this.#source = source;
    this.#watch();
    this.tell({ kind: "opening" });
  }

  close() {
    clearTimeout(this.#next);
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
    this.#after(SILENCE, () => this.#fail());
  }

  #after(delay, task) {
    clearTimeout(this.#next);
    this.#next = setTimeout(task, delay);
  }

  // `reason`: the server has ended it; `status`: it was refused.
  #fail({ reason, status } = {}) {
    this.close();
    if (performance.now() - this.#opened > STABLE) this.#failures = 0;
    const delay = backOff(this.#failures);
    this.#failures += 1;
    this.#after(delay, () => this.open());
    this.#until = performance.now() + delay;
    this.#wait();
    this.#reason = reason ?? this.#reason;
    const refused = status === 401 || status === 403;
    if (this.isPrivate || this.#reason || refused || this.#failures >= DOUBT) this.#doubt();
  }

  #wait(login = this.#login) {
    this.#login = login;
    this.tell({ kind: "waiting", until: this.#until, login });
  }

  async #doubt() {
    const opened = this.#opened;
    let answer, body;
    try {
      [answer, body] = await request(`${this.path}?limit=1`, { token: this.token });
    } catch {
      return; // the server cannot be reached: it is asked again after the next failure
    }
    if (this.#opened !== opened && this.#live) return; // a stream that was opened meanwhile is a better answer
    const login = isLogin(answer, body);
    if (login || this.#login) this.#wait(login);
    if (login) return;
    if (answer.ok) this.#reason = null;
    if (answer.status !== 401 && answer.status !== 403) return;
    this.close();
    this.tell({ kind: "ended", reason: this.#reason ?? "private" });
  }
}

// As an EventSource is, for the events that flychat writes; it sends a token, and has the status of a refusal.
class Reader {
  #listeners = {};
  #ending = new AbortController();

  constructor(url, token) {
    this.#read(url, token);
  }

  addEventListener(name, listener) {
    this.#listeners[name] = listener;
  }

  close() {
    this.#ending.abort();
  }

  async #read(url, token) {
    const { signal } = this.#ending;
    let status;
    try {
      const headers = { Accept: "text/event-stream", ...(await bearing(token)) };
      const answer = await fetch(url, { headers, signal, cache: "no-store", redirect: "manual" });
      if (!answer.ok) ({ status } = answer);
      else await this.#blocks(answer.body.getReader(), (block) => signal.aborted || this.#tell(block));
    } catch {} // it is cut, or was closed
    if (!signal.aborted) this.onerror({ status });
  }

  async #blocks(reader, take) {
    const decoder = new TextDecoder();
    for (let text = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (text + decoder.decode(value, { stream: true })).split("\n\n");
      text = blocks.pop();
      blocks.forEach(take);
    }
  }

  #tell(block) {
    const { event: type, data, id = "" } = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/)));
    this.#listeners[type]?.({ type, data, lastEventId: id });
  }
}
