// The page of a room. One rule keeps it right, whatever the network does:
//
//   official messages are shown in the order of their ids, which have no gaps. So an event is the next one
//   (shown), an old one (ignored), or beyond a gap (the stream is asked again from the last id); and
//   `stream-reset` drops what is shown and begins anew.
//
// A message is recognised by its key, (from, provisionalId). A provisional one is a loose row below the
// official ones until the official message of its key takes the row over. Own messages are loose rows too,
// made before they are sent; a retry repeats the key, so it is always safe.
//
// As old events are ignored, a stream may be opened from any earlier place at any time, which mends every fault.

const EVENTS = ["stream-open", "message", "retraction", "stream-reset", "keep-alive"];
const KEEP_ALIVE = 22_000; // the server is silent for 20 s at most
const SILENCE = 50_000; // a stream that is silent for so long is dead
const STABLE = 10_000; // one that lived for so long forgets earlier failures
const FIRST_DELAY = 2_000; // at most, before the stream is opened again; doubles up to
const LAST_DELAY = 30_000;
const BLIP = 3_000; // shorter interruptions are not mentioned
const SLOTS = 4; // of the six connections that a browser has, for tabs out of sight
const ANSWER = 5_000; // a leading tab that takes longer is replaced
const LATE = 1_000;
const BATCH = 16;
const MAX_ROWS = 500;
const PAGE = 100; // older messages that are loaded at once,
const NEAR = 400; // this many pixels before they are reached, and shown
const REST = 500; // when scrolling has rested this long: what a finger is on does not move
const UNCONFIRMED = 30_000; // a provisional message
const WITHDRAWN = 10_000; // shown as such
const GROUP = 600_000; // spans of the clock, within which messages share a heading
const KEYS = 2_000;
const TEXT_LIMIT = 4_096;
const TEXT_NEAR = 3_800;
const STEPS = [-1, 0, 10, 50, 100]; // characters that are left, when it is said
const TIMEOUT = 20_000;
const SLOW = 3_000; // then a message that is being sent says so
const PATIENCE = 60; // seconds, that a message is told to wait at most
const TRIES = 8;
const RECENT = 6; // rooms

const byId = (id) => document.getElementById(id);
const keyOf = (message) => `${message.provisionalId} ${message.from}`;
const pause = (delay) => new Promise((resolve) => setTimeout(resolve, delay));

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Over plain http there is no crypto.randomUUID.
function uuid() {
  const digit = (mask) => (mask ^ (crypto.getRandomValues(new Uint8Array(1))[0] & (15 >> (mask / 4)))).toString(16);
  return "00000000-0000-4000-8000-000000000000".replace(/[08]/g, digit);
}

const tab = "sessionStorage";
const browser = "localStorage";

// A browser that refuses to remember costs comfort, not function.
function recall(area, name, otherwise) {
  try {
    return JSON.parse(window[area].getItem(`flychat:${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function remember(area, name, value) {
  try {
    window[area].setItem(`flychat:${name}`, JSON.stringify(value));
  } catch {}
}

async function ask(path, options) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(TIMEOUT), ...options });
  return [answer, (await answer.json().catch(() => null)) ?? {}];
}

function secondsToWait({ headers }) {
  const after = headers.get("Retry-After") ?? 2;
  const seconds = isNaN(after) ? (Date.parse(after) - Date.now()) / 1_000 : after;
  return Math.max(1, Math.ceil(seconds)) || 2;
}

class Timer {
  set(task, delay) {
    this.stop();
    this.id = setTimeout(task, delay);
  }
  stop() {
    clearTimeout(this.id);
    this.id = null;
  }
}

// One EventSource, made anew after any failure, from the position of that moment.
class Stream {
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

// One stream for all tabs of a room: a browser opens six connections to a server and no more. The tab that holds
// the lock leads, and passes every event on. A tab that starts, wakes up or finds a gap says `hello` with its
// position, and a leader that is beyond it rewinds. A leader that does not answer loses the lock.
//
// For the sake of other rooms, a leader out of sight keeps its stream only for a tab in sight, or with one of a
// few locks of the whole browser (over plain http there are none). Else it rests until it is looked at: the price
// is that it does not count unread messages.
class Tabs {
  #channel = null;
  #release = null; // of the lock, in the leader
  #slot = null; // release of a lock of the browser's
  #asking = null; // for the lock
  #patience = new Timer();
  #silence = new Timer();
  #state = null;

  constructor(path, position, take) {
    Object.assign(this, { path, position, take });
    this.stream = new Stream(path, position, (news) => {
      if (news.kind !== "event") this.#state = news;
      this.#post(news);
      take(news);
    });
  }

  get #leads() {
    return this.#release || !this.#channel;
  }

  start() {
    if (!navigator.locks) return this.#open(); // plain http: one each
    this.#channel = new BroadcastChannel(`flychat:${this.path}`);
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
      await navigator.locks.request(`flychat:${this.path}`, how, () => this.#lead());
    } catch (error) {
      if (this.#asking !== asking) return; // by this tab itself
      this.stop();
      if (error.name === "AbortError") this.start(); // the lock was taken
      else this.#open(); // there are no locks here
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
    const { kind, until } = news; // timers of a hidden leader may be late
    this.#silence.set(() => this.hello("wake"), until ? until + LATE - Date.now() : SILENCE);
    if (kind === "leader") this.hello();
    else this.take(news);
  }

  #calm() {
    this.#patience.stop();
    this.#silence.stop();
  }

  #post(news) {
    this.#channel?.postMessage(news);
  }
}

const format = (options) => new Intl.DateTimeFormat(undefined, options);
const clock = format({ timeStyle: "short" });
const fullDate = format({ dateStyle: "full", timeStyle: "medium" });
const longDay = format({ dateStyle: "full" });

function dayName(date) {
  const day = new Date();
  for (const name of ["Today", "Yesterday"]) {
    if (date.toDateString() === day.toDateString()) return name;
    day.setDate(day.getDate() - 1);
  }
  return longDay.format(date);
}

// A name has a hue; the style sheet gives it a lightness that can be read.
function paint(target, name) {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
  target.style.setProperty("--hue", Math.round((hash * 137.508) % 360));
}

// The text in parts, of which the http(s) links, and nothing else, can be clicked.
function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[\p{L}\p{N}[][^\s<>"\p{C}]*/giu)) {
    const href = withoutSentence(match[0]);
    const link = element("a", { href, rel: "noopener nofollow ugc", target: "_blank" }, href);
    parts.push(text.slice(end, match.index), link);
    end = match.index + href.length;
  }
  return [...parts, text.slice(end)];
}

// An address without the punctuation after it; a closing bracket is its own if it was opened in it.
function withoutSentence(address, most = 20) {
  const count = (character) => address.split(character).length;
  const end = address.at(-1);
  const open = { ")": "(", "]": "[", "}": "{" }[end];
  const strange = open ? count(end) > count(open) : ".,:;!?'*_~”’…".includes(end);
  return strange && most ? withoutSentence(address.slice(0, -1), most - 1) : address;
}

class Row {
  static unseen = new RegExp(byId("room")?.dataset.unseen, "gu"); // in names: shown
  timer = new Timer();
  day = element("div", { className: "day" });

  constructor(message, item) {
    this.item = item;
    this.time = item.querySelector("time");
    this.time.ariaLive = "off"; // a minute that is corrected is no news
    const name = message.from.replace(Row.unseen, (_, seen) => seen ?? "\ufffd");
    const face = element("span", { className: "face", ariaHidden: "true" });
    face.dataset.initial = [...name][0].toUpperCase();
    item.prepend(face);
    const author = item.querySelector("bdi");
    author.textContent = name;
    if (name !== message.from) author.dataset.name = message.from;
    item.querySelector("p").replaceChildren(...linked(message.text));
    paint(item, message.from);
    this.become(message);
  }

  static read(item) {
    const text = (name) => item.querySelector(name).textContent;
    const { id, key } = item.dataset;
    const date = text("time").replace(" ", "T");
    const from = item.querySelector("bdi").dataset.name ?? text("bdi");
    return { id: Number(id), from, text: text("p"), date, provisionalId: key };
  }

  become(message) {
    this.message = message;
    this.key = keyOf(message);
    this.date = new Date(message.date);
    const shown = clock.format(this.date);
    if (this.time.textContent !== shown) this.time.textContent = shown;
    Object.assign(this.time, { dateTime: `${message.date.slice(0, 19)}Z`, title: fullDate.format(this.date) });
    this.item.dataset.key = message.provisionalId;
    if (!("id" in message)) return;
    this.item.dataset.id = message.id;
    this.say("official");
  }

  say(state, note = "", actions = {}) {
    this.timer.stop();
    this.item.dataset.state = state;
    const old = this.item.querySelector(".note");
    if (old?.contains(document.activeElement)) byId("text").focus();
    old?.remove();
    if (!note) return;
    const made = element("div", { className: "note" }, element("span", {}, note));
    for (const [name, onclick] of Object.entries(actions)) made.append(element("button", { onclick }, name));
    this.item.append(made);
  }

  follow(previous) {
    const sameDay = previous?.date.toDateString() === this.date.toDateString();
    const head = (row) => `${Math.floor(row.date / GROUP)} ${row.message.from}`;
    this.item.classList.toggle("more", sameDay && head(previous) === head(this));
    this.nameDay();
    if (sameDay) this.day.remove();
    else if (!this.day.isConnected) this.item.prepend(this.day);
  }

  nameDay() {
    const name = dayName(this.date);
    if (this.day.textContent !== name) this.day.textContent = name;
  }
}

// The rows: official ones by id and without gaps, then the loose ones.
class Log {
  #official = [];
  #loose = new Map(); // key -> row
  #keys = new Set(); // of official messages
  #known = 0; // the last id before a reset: what comes again is not unread
  #afresh = false; // after a reset, until the next message, whichever it is
  #rows = new WeakMap(); // item -> row
  #quiet = new Timer();
  #older = byId("older");
  #list = byId("messages");
  #empty = document.querySelector(".empty");
  scroller = byId("log");
  live = true; // the rows reach to the last message
  stuck = true; // the reader is at the bottom
  #top = 0; // the scroller's, when last measured
  resets = 0;

  constructor(user, last, hasOlder) {
    Object.assign(this, { user, last, hasOlder });
    this.#quietly(() => {
      for (const item of [...this.#list.children]) this.#push(new Row(Row.read(item), item));
    });
    this.live = !(this.lastShown < last);
    this.toBottom();
    // A phone's keyboard, or a text that grows, must not cover the last message.
    new ResizeObserver(() => this.stuck && this.toBottom()).observe(this.scroller);
  }

  get hasOlder() {
    return !this.#older.hidden;
  }
  set hasOlder(has) {
    this.#older.hidden = !has;
  }
  get first() {
    return this.#official[0]?.message.id;
  }
  get lastShown() {
    return this.#official.at(-1)?.message.id;
  }
  get #divider() {
    return this.#list.querySelector(".divider");
  }
  get #size() {
    return this.#official.length + this.#loose.size;
  }

  // Who is at the bottom leaves it by scrolling up: a box that becomes smaller (whose observer comes after the scroll
  // events) takes nobody away.
  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const stays = this.stuck && scrollTop >= this.#top;
    this.#top = scrollTop;
    return (this.stuck = this.live && (stays || scrollHeight - scrollTop - clientHeight < 40));
  }

  focus() {
    this.scroller.focus({ preventScroll: true });
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#top = this.scroller.scrollTop;
    this.stuck = this.live;
  }

  // What is read stays in place: the bottom of the log, or else the lower end of the first row in sight (whose
  // upper end may lose the heading to a new row above).
  change(mutate) {
    this.look();
    const { top } = this.scroller.getBoundingClientRect();
    const place = (item) => item.getBoundingClientRect().bottom;
    const reading = this.stuck ? [] : [...this.#list.children].filter((item) => place(item) > top);
    const places = reading.map(place);
    mutate();
    if (this.stuck) this.#trim();
    this.#empty.hidden = this.#size > 0;
    const kept = reading.findIndex((item) => item.isConnected);
    if (this.stuck) this.toBottom();
    else if (kept >= 0) this.scroller.scrollTop += place(reading[kept]) - places[kept];
    this.onChange?.();
  }

  // An official message of the stream. False if there is a gap before it.
  official(message) {
    const { id } = message;
    if (this.#afresh) {
      this.hasOlder = id > 1;
      this.last = id - 1;
      this.#afresh = false;
    }
    if (id !== this.last + 1) return id <= this.last;
    this.last = id;
    if (message.from !== this.user && id > this.#known) this.onUnread();
    if (this.live && !this.stuck && this.#size >= MAX_ROWS) this.#detach(0);
    const row = this.#settle(message);
    if (this.live) this.#push(row);
    else this.#drop(row);
    return true;
  }

  provisional(message) {
    const key = keyOf(message);
    const known = this.#loose.get(key);
    if (this.#keys.has(key) || !this.live || (known && known.item.dataset.state !== "withdrawn")) return;
    if (known) this.#drop(known);
    if (!this.stuck && this.#size >= MAX_ROWS) return;
    const row = this.add(message);
    row.onRetract = () => {
      row.say("withdrawn", "withdrawn: it could not be stored");
      row.timer.set(() => this.remove(row), WITHDRAWN);
    };
    row.say("provisional");
    row.timer.set(() => row.say("unconfirmed", "not confirmed"), UNCONFIRMED);
  }

  retract(provisionalId) {
    for (const row of this.#loose.values())
      if (row.message.provisionalId === provisionalId) row.onRetract();
  }

  // What is shown does not connect with what follows `position`. Messages that are being sent stay.
  reset({ reason, lastEventId }, position) {
    const behind = reason === "behind";
    if (behind && lastEventId <= this.last) return; // another tab is, that this one shares its stream with
    this.#known = behind ? Math.max(this.#known, this.last) : 0;
    this.#clear();
    this.#dropOthers();
    this.#keys.clear();
    this.last = position;
    this.#afresh = true;
    this.resets += 1;
    this.hasOlder = false;
    this.live = this.stuck = true;
    this.#list.prepend(element("li", { className: "divider" }, element("div", {}, "Some messages were missed")));
  }

  add(message) {
    const row = this.#make(message);
    this.#loose.set(row.key, row);
    this.#insert(row, null);
    return row;
  }

  remove(row) {
    this.change(() => this.#drop(row));
  }

  isOfficial(message) {
    return this.#keys.has(keyOf(message));
  }

  // Messages that end right before the first row.
  prepend(messages) {
    this.#redraw(() => {
      if (messages.length) this.#divider?.remove();
      for (const message of messages.reverse()) {
        if (message.id !== this.first - 1) continue;
        const row = this.#make(message);
        this.#official.unshift(row);
        this.#insert(row, this.#list.firstElementChild);
      }
      this.hasOlder = messages.length > 0 && this.first > 1;
      if (this.#size > MAX_ROWS) this.#detach(this.#size - MAX_ROWS);
    });
  }

  // Messages that begin right after the last row: the way back to the end. The stream may be behind them.
  append(messages) {
    this.#redraw(() => {
      for (const message of messages)
        if (message.id === (this.lastShown ?? message.id - 1) + 1) this.#push(this.#settle(message));
      this.last = Math.max(this.last, this.lastShown ?? 0);
      this.live = !(this.lastShown < this.last);
      this.#trim();
    });
  }

  replace(messages) {
    this.#redraw(() => {
      this.#clear();
      this.append(messages);
      this.hasOlder = this.first > 1;
    });
    this.toBottom();
  }

  nameDays() {
    for (const day of this.#list.querySelectorAll(".day")) this.#rows.get(day.parentElement).nameDay();
  }

  #make(message) {
    const item = byId("row").content.firstElementChild.cloneNode(true);
    item.classList.toggle("own", message.from === this.user);
    return new Row(message, item);
  }

  // The row of a message that is official now: the loose one of its key, if there is one.
  #settle(message) {
    const key = keyOf(message);
    const row = this.#loose.get(key) ?? this.#make(message);
    this.#keys.add(key);
    if (this.#keys.size > KEYS) this.#keys.delete(this.#keys.values().next().value);
    row.onOfficial?.();
    row.become(message);
    this.#loose.delete(key);
    return row;
  }

  // To the end of the official rows. A row that is there is not moved, lest it be read out again.
  #push(row) {
    const above = this.#official.at(-1)?.item ?? this.#divider;
    this.#official.push(row);
    this.#keys.add(row.key);
    this.#rows.set(row.item, row);
    const [loose] = this.#loose.values();
    if (row.item.isConnected && (!loose || row.item.previousElementSibling === above)) this.#follow(row.item);
    else if (row.item.isConnected) this.#quietly(() => this.#insert(row, loose.item));
    else this.#insert(row, loose?.item ?? null);
  }

  #insert(row, before) {
    const after = row.item.nextElementSibling;
    this.#rows.set(row.item, row);
    this.#list.insertBefore(row.item, before);
    this.#follow(row.item);
    this.#follow(after);
  }

  #follow(item) {
    for (const each of [item, item?.nextElementSibling])
      this.#rows.get(each)?.follow(this.#rows.get(each.previousElementSibling));
  }

  #drop(row) {
    row.timer.stop();
    this.#loose.delete(row.key);
    const next = row.item.nextElementSibling;
    if (row.item.contains(document.activeElement)) byId("text").focus();
    row.item.remove();
    this.#follow(next);
  }

  #dropOthers() {
    for (const row of [...this.#loose.values()]) if (!row.onOfficial) this.#drop(row);
  }

  #trim() {
    if (this.#size <= MAX_ROWS) return;
    this.#divider?.remove();
    this.hasOlder = true;
    this.#cut(0, this.#size - MAX_ROWS);
    this.#follow(this.#list.firstElementChild);
  }

  // The reader is far up: give up rows at the end, and what others are adding to them.
  #detach(rows) {
    this.live = this.stuck = false;
    this.#cut(this.#official.length - rows);
    this.#dropOthers();
    this.#follow(this.#official.at(-1)?.item);
  }

  #clear() {
    this.#cut(0);
    this.#divider?.remove();
  }

  #cut(start, count = Infinity) {
    for (const row of this.#official.splice(start, count)) row.item.remove();
  }

  #redraw(mutate) {
    this.#quietly(() => this.change(mutate));
  }

  // Old and redrawn rows are no news: they are not read out.
  #quietly(redraw) {
    this.scroller.ariaLive = "off";
    try {
      redraw();
    } finally {
      this.#quiet.set(() => (this.scroller.ariaLive = "polite"), 300);
    }
  }
}

class History {
  #turn = Promise.resolve();
  #loading = false;
  #scrolled = 0;
  #failed = 0;
  #button = byId("older");
  #note = byId("history-note");

  constructor(path, log) {
    Object.assign(this, { path, log });
    this.#button.onclick = () => this.older();
    log.scroller.addEventListener("scroll", () => this.#scroll());
  }

  older(patient = false) {
    const use = (messages) => {
      const focused = document.activeElement === this.#button;
      this.log.prepend(messages);
      if (focused && !this.log.hasOlder) this.log.focus();
    };
    this.#load(`&before=${this.log.first}`, use, patient);
  }

  newer() {
    this.#load(`&after=${this.log.lastShown}`, (messages) => this.log.append(messages), true);
  }

  newest() {
    this.#loading = false;
    return this.#load("", (messages) => this.log.replace(messages));
  }

  #load(query, use, patient) {
    if (!this.#loading) this.#turn = this.#turn.then(() => this.#get(query, use, patient));
    this.#loading = true;
    return this.#turn;
  }

  async #get(query, use, patient) {
    const { resets } = this.log;
    try {
      const messages = await this.#ask(query);
      for (let left; patient && (left = this.#scrolled + REST - Date.now()) > 0; ) await pause(left);
      if (resets === this.log.resets) use(messages);
      this.#failed = 0;
    } catch {
      this.#failed = Date.now();
    }
    this.#loading = false;
    this.#note.textContent = this.#failed ? "The messages could not be loaded. Try again in a moment." : "";
  }

  async #ask(query) {
    for (let tries = 1; ; tries += 1) {
      const [answer, { messages }] = await ask(`${this.path}?limit=${PAGE}${query}`);
      const seconds = secondsToWait(answer);
      if (answer.status !== 429 || seconds > PATIENCE || tries === TRIES) return [...messages]; // an error has none
      this.#note.textContent = `More messages in ${seconds} s.`;
      await pause(seconds * 1_000);
    }
  }

  #scroll() {
    this.#scrolled = Date.now();
    if (this.#scrolled - this.#failed < ANSWER) return;
    const { scrollTop, scrollHeight, clientHeight } = this.log.scroller;
    if (this.log.hasOlder && scrollTop < NEAR) this.older(true);
    else if (!this.log.live && scrollHeight - scrollTop - clientHeight < NEAR) this.newer();
  }
}

// Sends messages one by one, so that they keep their order. What is not sent survives a reload.
class Outbox {
  #entries = [];
  #busy = false;

  constructor(path, log) {
    Object.assign(this, { path, log, name: `outbox:${path}:${log.user}` });
    for (const message of recall(tab, this.name, []))
      if (!log.isOfficial(message)) this.#fail(this.#enter(message), "Not confirmed before the page was left.");
    this.#save();
  }

  send(text) {
    const message = { from: this.log.user, text, date: new Date().toISOString(), provisionalId: uuid() };
    this.#queue(this.#enter(message));
    this.#save();
  }

  #enter(message) {
    let row;
    this.log.change(() => (row = this.log.add(message)));
    const entry = { message, row, tries: 0 };
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
    let answer, body;
    try {
      [answer, body] = await ask(this.path, { method: "POST", body: JSON.stringify(entry.message) });
    } catch {
      const late = this.#entries.filter(({ state }) => state === "queued"); // they would wait as long, in turn
      for (const each of [entry, ...late]) this.#fail(each, "Not sent: the server cannot be reached.");
      return;
    }
    if (entry.state === "done") return;
    const { ok, status } = answer;
    if (ok && body.id) return this.#stored(entry, body);
    if (body.error?.code === "too_old") return this.#doubt(entry);
    const wait = status === 429 ? "Too many messages at once" : status > 499 && "The server is busy";
    const seconds = secondsToWait(answer);
    if (wait && seconds > PATIENCE) return this.#fail(entry, `${wait}. Try again in ${Math.ceil(seconds / 60)} min.`);
    entry.tries += 1;
    if (wait && entry.tries < TRIES) return this.#wait(entry, seconds, wait);
    const why = ok ? "something else answered in place of the chat" : `the server answered ${status}`;
    this.#fail(entry, `Not sent: ${(body.error?.message ?? why).replace(/\.$/, "")}.`);
  }

  // The server has it, and the stream brings it, unless it is past that place, or a reset comes first.
  #stored(entry, { id }) {
    this.#done(entry);
    entry.row.onOfficial = null;
    if (id <= this.log.last) this.log.remove(entry.row);
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
    remember(tab, this.name, this.#entries.map(({ message }) => message));
  }
}

class Composer {
  #field = byId("text");
  #counter = byId("counter");
  #form = byId("composer");
  #step;

  constructor(path, send) {
    Object.assign(this, { send, name: `draft:${path}` });
    this.#field.removeAttribute("maxlength"); // it would cut a pasted text without a word
    this.#field.value ||= recall(tab, this.name, "");
    this.#form.onsubmit = (event) => this.#submit(event);
    this.#field.oninput = () => this.#draw();
    this.#field.onkeydown = (event) => {
      const composing = event.isComposing || event.keyCode === 229; // Enter chooses a word of an input method
      if (event.key === "Enter" && !event.shiftKey && !composing) this.#submit(event);
    };
    this.#draw();
  }

  #submit(event) {
    event.preventDefault();
    // Characters that nobody sees, and the server refuses, come from pasting.
    const text = this.#field.value.replace(/[^\P{Cc}\n\t]|\p{Cs}/gu, "");
    if (!text.trim() || this.#excess(text) > 0) return;
    this.#field.value = "";
    this.#draw();
    this.send(text);
    this.#field.focus();
  }

  #excess(text) {
    return text.length > TEXT_NEAR ? [...text].length - TEXT_LIMIT : -TEXT_LIMIT;
  }

  #draw() {
    const field = this.#field;
    const counter = this.#counter;
    const excess = this.#excess(field.value);
    const over = excess > 0;
    const step = STEPS.find((left) => -excess <= left);
    counter.ariaLive = step === this.#step ? "off" : "polite"; // not at every key
    this.#step = step;
    counter.hidden = excess < TEXT_NEAR - TEXT_LIMIT;
    counter.textContent = over ? `${excess} too many` : `${-excess} left`;
    counter.classList.toggle("over", over);
    field.ariaInvalid = `${over}`;
    this.#form.querySelector("button").disabled = over;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
    remember(tab, this.name, field.value);
  }
}

class Status {
  #since = 0; // when the trouble began
  #timer = new Timer();
  #state;
  #text = new Text();
  #detail = element("span", { ariaHidden: "true" }); // a countdown that is read out every second helps nobody

  constructor() {
    document.querySelector("[role=status]").replaceChildren(this.#text, this.#detail);
    this.#write("connecting", "Connecting", "…");
  }

  show(state = this.#state) {
    this.#state = state;
    this.#timer.stop();
    if (state?.kind === "open" && navigator.onLine) {
      this.#since = 0;
      return this.#write("connected", "Connected");
    }
    this.#since ||= Date.now();
    const quiet = this.#since + BLIP - Date.now();
    if (quiet > 0) return this.#timer.set(() => this.show(), quiet);
    const seconds = Math.ceil((state?.until - Date.now()) / 1_000);
    if (!navigator.onLine) this.#write("offline", "Offline", ": it goes on when the network is back");
    else this.#write("reconnecting", "Reconnecting", seconds > 0 ? ` in ${seconds} s` : "…");
    if (seconds > 0) this.#timer.set(() => this.show(), 1_000);
  }

  #write(state, text, detail = "") {
    document.documentElement.dataset.state = state;
    if (this.#text.data !== text) this.#text.data = text;
    this.#detail.textContent = detail;
  }
}

// How many messages of others came while nobody looked: in the title, and on the way down to them.
class Unread {
  #count = 0;
  #title = document.title;
  #button = byId("fresh");

  constructor(log, jump) {
    this.log = log;
    this.#button.onclick = jump;
    log.onUnread = () => (this.#count += document.hidden || !log.stuck);
    log.scroller.addEventListener("scroll", () => this.draw());
  }

  draw() {
    const stuck = this.log.look();
    if (stuck && !document.hidden) this.#count = 0;
    document.title = (this.#count ? `(${this.#count}) ` : "") + this.#title;
    this.#button.hidden = stuck || !this.#count;
    this.#button.textContent = `${this.#count} new`;
  }
}

class Room {
  #inbox = [];

  constructor({ user, last, older }) {
    const path = byId("composer").getAttribute("action");
    const log = (this.log = new Log(user, Number(last), older !== undefined));
    this.status = new Status();
    this.history = new History(path, log);
    this.unread = new Unread(log, () => this.#jump());
    log.onChange = () => this.unread.draw();
    this.outbox = new Outbox(path, log);
    this.composer = new Composer(path, (text) => this.#send(text));
    const take = (news) => (news.kind === "event" ? this.#receive(news) : this.status.show(news));
    this.tabs = new Tabs(path, () => log.last, take);
    this.#listen();
    this.tabs.start();
  }

  #listen() {
    const wake = () => {
      if (document.hidden) return this.tabs.rest();
      this.log.nameDays();
      this.unread.draw();
      this.tabs.hello("wake");
    };
    addEventListener("online", () => {
      this.status.show();
      this.tabs.hello("online");
    });
    addEventListener("offline", () => this.status.show());
    document.addEventListener("visibilitychange", wake);
    addEventListener("pagehide", () => this.tabs.stop());
    addEventListener("pageshow", ({ persisted }) => (persisted ? this.tabs.start() : wake()));
  }

  #receive(event) {
    if (!this.#inbox.length) setTimeout(() => this.#flush(), BATCH);
    this.#inbox.push(event);
  }

  #flush() {
    const events = this.#inbox.splice(0);
    let whole = true;
    this.log.nameDays();
    this.log.change(() => {
      for (const { type, data, id } of events) {
        const value = data && JSON.parse(data);
        if (type === "stream-reset") this.log.reset(value, Number(id));
        else if (type === "retraction") this.log.retract(value.provisionalId);
        else if (value.id) whole = this.log.official(value) && whole;
        else if (type === "message") this.log.provisional(value);
      }
    });
    if (!whole) this.tabs.hello();
  }

  #send(text) {
    this.outbox.send(text);
    this.#toNewest();
  }

  async #toNewest() {
    this.log.toBottom();
    if (!this.log.live) await this.history.newest();
  }

  async #jump() {
    await this.#toNewest();
    this.log.focus();
    this.unread.draw();
  }
}

// The address is to be shared, without the name; a tab keeps its name, although the cookie is common.
function keepsName({ user }) {
  const path = location.pathname;
  const named = new URLSearchParams(location.search).has("user");
  const before = recall(tab, "user", user);
  remember(tab, "user", user);
  if (named) history.replaceState(null, "", path);
  else if (before !== user) location.replace(`${path}?user=${encodeURIComponent(before)}`);
  return named || before === user;
}

function offerRooms(current) {
  const rooms = recall(browser, "rooms", []).filter((room) => room !== current);
  if (current) remember(browser, "rooms", [current, ...rooms].slice(0, RECENT));
  const links = rooms.map((room) => element("a", { href: `/${encodeURIComponent(room)}` }, element("bdi", {}, room)));
  const list = document.querySelector(".recent");
  list.append(...links);
  list.hidden = !rooms.length;
}

function furnishMenu(user) {
  const menu = document.querySelector(".menu");
  for (const part of menu.querySelectorAll(".face, .me")) paint(part, user);
  for (const name of ["click", "focusin"])
    addEventListener(name, ({ target }) => (menu.open &&= menu.contains(target)));
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function furnishLink(button) {
  button.hidden = !navigator.clipboard; // only on https and localhost
  button.onclick = async () => {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  };
}

document.documentElement.classList.add("js");
const room = byId("room")?.dataset;
offerRooms(room?.room);
if (byId("name")) byId("name").value ||= recall(tab, "user", "");
if (room && keepsName(room)) {
  furnishMenu(room.user);
  furnishLink(byId("share"));
  new Room(room);
}
