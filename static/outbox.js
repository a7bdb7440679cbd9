import { recall, remember, tab } from "./memory.js";
import { ask, patience } from "./server.js";

const SLOW = 3_000; // ms, after which a message that is being sent says so

// Over plain http there is no crypto.randomUUID.
function uuid() {
  const digit = (mask) =>
    (mask ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (mask / 4)))).toString(16);
  return "00000000-0000-4000-8000-000000000000".replace(/[08]/g, digit);
}

// Sends messages one by one, so that they keep their order. What is not sent survives a reload.
export class Outbox {
  #entries = [];
  #busy = false;

  constructor(path, log) {
    const { name, user } = log.identity;
    Object.assign(this, { path, log, name: ["outbox", path, name, ...(user ? [user] : [])].join(":") });
    for (const message of recall(tab, this.name, []))
      if (!log.isOfficial(message))
        this.#fail(this.#enter(message), "Not confirmed before the page was left.");
    this.#save();
  }

  send(text) {
    const message = { text, date: new Date().toISOString(), provisionalId: uuid() };
    this.#queue(this.#enter(this.log.identity.sign(message)));
    this.#save();
  }

  #enter(message) {
    let row;
    this.log.identity.sends(message);
    this.log.change(() => (row = this.log.add(message)));
    const entry = { message, row, tries: 0 };
    row.own = row.pending = true;
    row.onRetract = () =>
      entry.state === "sending" && this.#fail(entry, "Withdrawn: the server could not store it.");
    row.onOfficial = () => this.#done(entry);
    this.#entries.push(entry);
    return entry;
  }

  async #queue(entry) {
    this.#pend(entry);
    if (this.#busy) return;
    this.#busy = true;
    for (let next; (next = this.#entries.find(({ state }) => state === "queued")); ) await this.#try(next);
    this.#busy = false;
  }

  #pend(entry) {
    const { row } = entry;
    entry.state = "queued";
    row.say("pending");
    row.timer.set(() => this.log.change(() => row.say("pending", "sending…")), SLOW);
  }

  async #try(entry) {
    entry.state = "sending";
    entry.message.lastEventId ??= this.log.last; // a repeat says it again
    this.#save();
    const { user, ...fields } = entry.message; // which the token says
    let answer, body;
    try {
      [answer, body] = await ask(this.path, { method: "POST", body: JSON.stringify(fields) });
    } catch {
      // Those behind it would wait as long, in turn.
      const late = this.#entries.filter(({ state }) => state === "queued");
      for (const each of [entry, ...late]) this.#fail(each, "Not sent: the server cannot be reached.");
      return;
    }
    if (entry.state === "done") return;
    const { ok, status } = answer;
    if (ok && body.id) return this.#stored(entry, body);
    if (body.error?.code === "too_old") return this.#doubt(entry);
    entry.tries += 1;
    const { why: busy, seconds, tooLong, goesOn } = patience(answer, entry.tries);
    if (tooLong) return this.#fail(entry, `${busy}. Try again in ${Math.ceil(seconds / 60)} min.`);
    if (goesOn) return this.#wait(entry, seconds, busy);
    const why = ok ? "something else answered in place of the chat" : `the server answered ${status}`;
    this.#fail(entry, `Not sent: ${(body.error?.message ?? why).replace(/\.$/, "")}.`);
  }

  // The server has it, and the stream brings it, unless it is past that place, or a reset comes first.
  // Under another user, if the session is not that of the page any more: then the stream's is a row of its own.
  #stored(entry, { id, user }) {
    this.#done(entry);
    entry.row.pending = false;
    if (id <= this.log.last || user !== entry.message.user) this.log.remove(entry.row);
    else entry.row.say("stored");
  }

  async #wait(entry, seconds, why) {
    entry.state = "waiting";
    await new Promise((resolve) => {
      entry.wake = resolve;
      setTimeout(resolve, seconds * 1_000);
      this.#offer(entry, "waiting", `${why}. Trying again in ${seconds} s.`, resolve);
    });
    if (entry.state === "waiting") this.#pend(entry);
  }

  // An earlier try may have stored it: the server does not look so far back, but the person can.
  #doubt(entry) {
    const anew = () => {
      this.#discard(entry);
      this.send(entry.message.text);
    };
    this.#fail(entry, "This was first sent long ago, and may be above already.", anew, "Send anew");
  }

  #fail(entry, why, act = () => this.#queue(entry), name) {
    if (entry.state === "done") return;
    entry.state = "failed";
    entry.tries = 0;
    this.#offer(entry, "failed", why, act, name);
  }

  #offer(entry, state, why, act, name = "Retry") {
    const Discard = () => this.#discard(entry);
    this.log.change(() => entry.row.say(state, why, { [name]: act, Discard }));
  }

  #discard(entry) {
    this.log.remove(entry.row);
    this.#done(entry);
  }

  #done(entry) {
    entry.state = "done";
    entry.wake?.();
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#save();
  }

  #save() {
    const messages = this.#entries.map(({ message }) => message);
    remember(tab, this.name, messages);
  }
}
