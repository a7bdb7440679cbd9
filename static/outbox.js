import { backOff, isLogin, uuid } from "./stream.js";
import { now } from "./now.js";
import { ask, patience } from "./server.js";
import { Timer } from "./timer.js";
import { Unsent } from "./unsent.js";

const SLOW = 3_000; // ms, after which a message that is being sent says so
const LONGEST = 600_000; // ms that a server can make the messages wait
const GONE = "The server cannot be reached";
const LOGIN = "The login in front of this chat has ended";
const RIGHTS = {
  401: "Not sent: you are not signed in here any more. Reload the page to enter again.",
  403: "Not sent: you may not write here. Ask who runs this room, or reload the page if that has changed.",
};
const EARLIER = "This was sent before, and may be above already.";

// Sends messages one by one, so that they keep their order.
//
// Without an answer, or with one that asks to wait, all messages wait and are tried again by themselves: when the
// server has said, or after a delay that doubles, or when there is a connection again. A message that the server
// refuses stays, with the reason, and those behind it go on.
//
// All tabs of a name in a room show the same unsent messages, and one of them sends each (unsent.js).
//
// An entry is { message, order, failed, row, state, mine, kept }. `state`: "queued", "sending", "failed", "done".
// `failed`: { why, anew, again }: send it under another id; try again when the page is opened again.
export class Outbox {
  #entries = []; // in their order
  #ended = new Set(); // ids of messages that are done: other tabs may still write about them, and are ignored
  #busy = false;
  #failures = 0; // in a row
  #timer = new Timer();
  #why; // they wait
  #asked = false; // the server has said for how long
  #until = null; // performance.now() of the next try
  onChange = () => {};
  onAnswer = () => {}; // the server can be reached

  constructor(path, log) {
    const { name, user } = log.identity;
    if (!user?.startsWith("guest-")) this.user = user; // a guest is another one after each login
    this.unsent = new Unsent([path, name, this.user].filter(Boolean).join(":"));
    Object.assign(this, { path, log });
    this.unsent.listen((id, record) => this.#hear(id, record));
    for (const record of this.unsent.all()) this.#meet(record);
  }

  // What waits: how many messages; why and until when, if the last try has failed; whether they survive the tab.
  get state() {
    const kept = this.#entries.every((entry) => entry.kept);
    const why = this.#failures ? this.#why : null;
    return { count: this.#waiting.length, why, login: why === LOGIN, until: this.#until, kept };
  }

  get #waiting() {
    return this.#entries.filter(({ state }) => state === "queued" || state === "sending");
  }

  send(text) {
    const message = { text, date: new Date(now()).toISOString(), provisionalId: uuid() };
    const order = Math.max(Date.now(), ...this.#entries.map((entry) => entry.order + 1));
    const entry = this.#enter({ message, order });
    this.unsent.hold(message.provisionalId, () => {}); // before any other tab hears of it
    this.#save(entry);
    this.#pend(entry); // says whether it is kept
    this.#own(entry);
  }

  // There may be a connection again; but for how long to wait, the server may have said.
  wake() {
    if (this.#failures && !this.#asked) this.#go();
  }

  retry() {
    for (const entry of this.#entries.filter(({ mine }) => !mine)) this.#save(entry, Date.now());
    this.#go();
  }

  discard() {
    for (const entry of this.#waiting) this.#discard(entry);
  }

  // The page is put away: other tabs may go on.
  stop() {
    this.#timer.stop();
    for (const entry of this.#entries) {
      entry.mine = false;
      this.unsent.release(entry.message.provisionalId);
    }
  }

  start() {
    for (const entry of this.#entries) this.#hold(entry);
    this.#go();
  }

  #enter({ message: { text, date, provisionalId, lastEventId }, order, failed }) {
    const message = this.log.identity.sign({ text, date, provisionalId, lastEventId });
    this.log.identity.sends(message);
    let row;
    this.log.change(() => (row = this.log.add(message)));
    const entry = { message, order, failed, row, mine: false, kept: false };
    row.own = row.pending = true;
    row.onRetract = () => {}; // the answer says so, too: it is sent again
    row.onOfficial = () => this.#done(entry, true);
    this.#entries.push(entry);
    this.#entries.sort((one, other) => one.order - other.order);
    return entry;
  }

  // A message of another tab, or of another day. That of an earlier guest may be stored, under that user.
  #meet(record) {
    const { message } = record;
    const failed = message.user === this.log.identity.user ? record.failed : { why: EARLIER, anew: true };
    if (this.log.isOfficial(message)) return this.unsent.drop(message.provisionalId, true);
    const entry = this.#enter(record);
    entry.kept = this.unsent.outlastsTab; // it is not written: it may be gone by now, and would be there again
    if (failed && !failed.again) this.#refuse(entry, failed);
    else this.#pend(entry);
    this.#hold(entry);
  }

  #hold(entry) {
    const id = entry.message.provisionalId;
    this.unsent.hold(id, () => {
      const record = this.unsent.get(id);
      if (!record && entry.kept) return this.#hear(id, null);
      entry.message.lastEventId = record?.message.lastEventId;
      this.#own(entry);
    });
  }

  #own(entry) {
    entry.mine = true;
    this.#run();
  }

  #hear(id, record) {
    const entry = this.#entries.find(({ message }) => message.provisionalId === id);
    if (!entry) return record && !record.stored && !this.#ended.has(id) && this.#meet(record);
    if (!record) return this.#discard(entry);
    const { stored, failed } = record;
    if (stored) return this.#stored(entry, { id: stored, user: entry.message.user });
    if (failed) return entry.state === "failed" || this.#refuse(entry, failed);
    if (entry.state === "failed") this.#pend(entry);
    this.#go();
  }

  #go() {
    this.#timer.stop();
    this.#until = null;
    this.#run();
  }

  async #run() {
    if (this.#busy) return;
    this.#busy = true;
    const next = () => !this.#until && this.#entries.find(({ state, mine }) => mine && state === "queued");
    for (let entry; (entry = next()); ) await this.#try(entry);
    this.#busy = false;
  }

  async #try(entry) {
    entry.state = "sending";
    entry.message.lastEventId ??= this.log.last; // a repeat says it again
    this.#save(entry);
    this.#draw();
    const { user, ...fields } = entry.message; // which the token says
    let answer, body;
    try {
      [answer, body] = await ask(this.path, { method: "POST", user: this.user, body: JSON.stringify(fields) });
    } catch {
      return this.#wait(entry, GONE);
    }
    const { ok, status, headers } = answer;
    const { why, seconds } = patience(answer, 1);
    if (why || isLogin(answer, body))
      return this.#wait(entry, why ?? LOGIN, headers.has("Retry-After") && seconds * 1_000);
    this.#failures = 0;
    this.onAnswer();
    if (ok) return this.#stored(entry, body);
    // An earlier try may have stored it: the server does not look so far back, but the person can.
    if (body.error?.code === "too_old") return this.#fail(entry, { why: EARLIER, anew: true });
    const words = (body.error?.message ?? `the server answered ${status}`).replace(/\.$/, "");
    if (!RIGHTS[status]) return this.#fail(entry, { why: `Not sent: ${words}.` });
    for (const each of this.#waiting) this.#fail(each, { why: RIGHTS[status], again: true });
  }

  #wait(entry, why, asked) {
    if (entry.state === "done") return;
    entry.state = "queued";
    const delay = Math.min(Math.max(asked || 0, backOff(this.#failures)), LONGEST);
    this.#failures += 1;
    this.#why = why;
    this.#asked = Boolean(asked);
    this.#until = performance.now() + delay;
    this.#timer.set(() => this.#go(), delay);
    this.#draw();
  }

  // The server has it, and the stream brings it, unless it is past that place, or a reset comes first.
  // Under another user, if the session is not that of the page any more: then the stream's is a row of its own.
  #stored(entry, { id, user }) {
    if (entry.state === "done") return;
    this.#done(entry, id);
    entry.row.pending = false;
    const past = id !== true && id <= this.log.last;
    if (past || user !== entry.message.user) this.log.remove(entry.row);
    else entry.row.say("stored");
  }

  #pend(entry) {
    Object.assign(entry, { state: "queued", failed: undefined, look: undefined });
    this.#draw();
  }

  #fail(entry, failed) {
    if (entry.state === "done") return;
    this.#refuse(entry, failed);
    this.#save(entry);
  }

  #refuse(entry, failed) {
    Object.assign(entry, { state: "failed", failed });
    const anew = () => {
      this.#discard(entry);
      this.send(entry.message.text);
    };
    const act = failed.anew ? { "Send anew": anew } : { Retry: () => this.#again(entry) };
    this.log.change(() => entry.row.say("failed", failed.why, { ...act, Discard: () => this.#discard(entry) }));
    this.#draw();
  }

  #again(entry) {
    this.#pend(entry);
    this.#save(entry, Date.now());
    this.#go();
  }

  #discard(entry) {
    this.#done(entry);
    this.log.remove(entry.row);
  }

  #done(entry, stored) {
    if (entry.state === "done") return;
    entry.state = "done";
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#ended.add(entry.message.provisionalId);
    this.unsent.drop(entry.message.provisionalId, stored);
    if (!this.#waiting.length) {
      this.#failures = 0;
      this.#timer.stop();
      this.#until = null;
    }
    this.#draw();
  }

  // Those that wait say so, the first of them in words, which would else be read out for each.
  #draw() {
    let words = `waiting for ${{ [GONE]: "the connection", [LOGIN]: "the login" }[this.#why] ?? "the server"}`;
    for (const entry of this.#waiting) {
      const state = this.#failures ? "waiting" : "pending";
      const look = this.#failures ? state + words : state;
      if (entry.look !== look) this.#show(entry.row, state, words);
      entry.look = look;
      words = "";
    }
    this.#guard();
    this.onChange();
  }

  #show(row, state, words) {
    if (state === "waiting") return this.log.change(() => row.say(state, words));
    row.say(state);
    row.timer.set(() => this.log.change(() => row.say(state, "sending…")), SLOW);
  }

  // `asked` is another number each time that the person wants who holds it to try again.
  #save(entry, asked) {
    const { message, order, failed, state } = entry;
    if (state !== "done") entry.kept = this.unsent.keep({ message, order, failed, asked });
    this.#guard();
  }

  // Where a message would not survive the tab, the browser asks whether to leave.
  #guard() {
    const { kept } = this.state;
    globalThis.onbeforeunload = kept ? null : (event) => event.preventDefault();
  }
}
