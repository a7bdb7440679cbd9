// The page of a room. One rule keeps it right, whatever the network does:
//
//   official messages are shown in the order of their ids, which have no gaps, so each event is either
//   the next one (shown), an old one (ignored), or beyond a gap (not shown: the stream is asked again
//   from the last id); and `stream-reset` drops what is shown and begins anew.
//
// A message is recognised by its key, (from, provisionalId). A provisional one is a loose row below the
// official ones until the official message with its key takes the row over; when it comes after that,
// it is late and ignored. Own messages are loose rows of the same kind, made before they are sent: a
// retry repeats the key, so it is always safe.
//
// Because old events are ignored, a stream may be opened from any earlier place at any time. That is how
// a tab that lags behind is served by another tab's stream, and how every fault is mended: open again.
//
// Room wires the parts: Stream reads, Tabs shares one stream among the tabs of a room, Log shows, History
// loads the past, Outbox sends, Composer takes what is typed, Status and Unread tell.

const EVENTS = ["stream-open", "message", "retraction", "stream-reset", "keep-alive"];
const KEEP_ALIVE = 20_000; // the server is never silent for longer
const SILENCE = 50_000; // a stream that is, is dead
const STABLE = 10_000; // a stream that lived this long forgets earlier failures
const FIRST_DELAY = [500, 2_000]; // before the stream is opened again, and how the next delays grow
const LONGEST_DELAY = 30_000;
const BLIP = 3_000; // shorter interruptions are not mentioned
const LEADER_ANSWERS = 5_000; // else another tab takes its place
const BATCH = 16; // events that come together are shown together
const MAX_ROWS = 500;
const PAGE = 100; // messages of the past loaded at once
const NEAR = 400; // pixels from the top at which they are
const SETTLED = 200; // milliseconds that scrolling rests before they are, so that a click comes first
const UNCONFIRMED = 30_000; // after which a provisional message of others is doubted
const WITHDRAWN = 10_000; // how long a retracted one is mentioned
const GROUP = 5 * 60_000; // messages of one author within this time share a heading
const KEYS = 2_000; // official messages that are remembered beyond the rows
const MAX_TEXT = 4_096;
const WARN_TEXT = 3_800;
const POST_TIMEOUT = 20_000;
const TRIES = 8; // of a message that is told to wait, before a person has to decide
const RECENT_ROOMS = 6;

const byId = (id) => document.getElementById(id);
const keyOf = (message) => `${message.provisionalId} ${message.from}`;
const away = () => document.hidden || document.visibilityState === "hidden";
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID(); // only on https and localhost
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Values kept in the browser; a browser that refuses to keep them costs comfort, not function. */
class Memory {
  constructor(area) {
    this.area = area;
  }
  get(name, otherwise) {
    try {
      return JSON.parse(window[this.area].getItem(`flychat:${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  }
  set(name, value) {
    try {
      window[this.area].setItem(`flychat:${name}`, JSON.stringify(value));
    } catch {}
  }
}
const browser = new Memory("localStorage");
const tab = new Memory("sessionStorage");

/** One EventSource, made anew after any failure, from the position that is then the last one. */
class Stream {
  #source = null;
  #again = 0;
  #watchdog = 0;
  #failures = 0;
  #opened = 0;
  #heard = 0;

  constructor(path, position, onEvent, onState) {
    Object.assign(this, { path, position, onEvent, onState });
  }

  open(from = this.position()) {
    this.close();
    this.#opened = Date.now();
    const source = new EventSource(this.path + (from === null ? "" : `?lastEventId=${from}`));
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#event(name, event.data));
    // The browser's own reconnecting gives up after a 502 and knows no back-off.
    source.onerror = () => this.#fail();
    this.#source = source;
    this.#watch();
    this.onState({ kind: "opening" });
  }

  close() {
    clearTimeout(this.#again);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  /** Something may have changed (the network, the lid): do not sit out a delay, or trust a silent stream. */
  wake() {
    if (!this.#source || Date.now() - this.#heard > KEEP_ALIVE * 1.5) this.open();
  }

  /** Somebody misses what follows `from`. */
  rewind(from) {
    if (!this.#source) return; // it will be told again when the stream is back
    if (Date.now() - this.#opened < 1_000) this.#fail(); // a loop is slowed down
    else this.open(from);
  }

  #event(name, data) {
    this.#watch();
    if (Date.now() - this.#opened > STABLE) this.#failures = 0;
    this.onState({ kind: "open" });
    this.onEvent(name, data);
  }

  #watch() {
    this.#heard = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#fail(), SILENCE);
  }

  #fail() {
    this.close();
    if (Date.now() - this.#opened > STABLE) this.#failures = 0;
    const [least, most] = FIRST_DELAY.map((first) => Math.min(first * 2 ** this.#failures, LONGEST_DELAY));
    const delay = least + Math.random() * (most - least);
    this.#failures += 1;
    this.#again = setTimeout(() => this.open(), delay);
    this.onState({ kind: "waiting", until: Date.now() + delay });
  }
}

/**
 * One stream for all tabs of a room in this browser, which allows six connections to a server in all.
 * The tab that holds the lock leads: it reads the stream and passes every event on. A tab that begins,
 * wakes up or finds a gap says `hello` with its position, and a leader that is ahead of that rewinds.
 * When the leader goes, the lock does; when it is frozen and does not answer, the lock is taken from it.
 */
class Tabs {
  #channel = null;
  #release = null;
  #waiting = null;
  #patience = 0;
  #silence = 0;

  constructor(path, position, onEvent, onState) {
    Object.assign(this, { path, position, onEvent, onState });
    this.stream = new Stream(
      path,
      position,
      (name, data) => this.#tell({ kind: "event", name, data }),
      (state) => this.#tell({ kind: "state", state: (this.state = state) }),
    );
  }

  start() {
    if (!navigator.locks || !window.BroadcastChannel) return this.stream.open(); // plain http: a stream each
    this.#channel = new BroadcastChannel(`flychat:${this.path}`);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#queue();
    this.hello();
  }

  stop() {
    this.#waiting?.abort();
    this.#waiting = null;
    clearTimeout(this.#patience);
    clearTimeout(this.#silence);
    this.stream.close();
    this.#release?.();
    this.#release = null;
    this.#channel?.close();
    this.#channel = null;
  }

  wake() {
    if (this.leads) this.stream.wake();
    else this.hello("wake");
  }

  /** Ask for what follows this tab's position. */
  hello(kind = "hello") {
    if (this.leads) return this.stream.rewind(this.position());
    this.#post({ kind, last: this.position() });
    if (!this.#patience) this.#patience = setTimeout(() => this.#queue(true), LEADER_ANSWERS);
  }

  get leads() {
    return this.#release !== null || this.#channel === null;
  }

  async #queue(steal = false) {
    this.#waiting?.abort();
    const waiting = (this.#waiting = new AbortController());
    try {
      const how = steal ? { steal } : { signal: waiting.signal };
      await navigator.locks.request(`flychat:${this.path}`, how, () => this.#lead());
    } catch {
      if (this.#waiting !== waiting || !this.#channel) return; // given up by this tab itself
      this.#release = null; // taken by another tab
      this.stream.close();
      this.#queue();
    }
  }

  #lead() {
    if (!this.#channel) return null;
    clearTimeout(this.#patience);
    clearTimeout(this.#silence);
    this.#patience = 0;
    const released = new Promise((resolve) => (this.#release = resolve));
    this.stream.open();
    this.#post({ kind: "leader" });
    return released;
  }

  #tell(news) {
    this.#post(news);
    this.#take(news);
  }

  #hear(news) {
    if (news.kind === "hello" || news.kind === "wake") {
      if (!this.#release) return;
      if (news.kind === "wake") this.stream.wake();
      this.#post({ kind: "state", state: this.state });
      const last = this.position();
      if (news.last !== null && last !== null && news.last < last) this.stream.rewind(news.last);
      return;
    }
    if (this.#release) return; // the last words of a leader whose lock was taken
    clearTimeout(this.#patience);
    clearTimeout(this.#silence);
    this.#patience = 0;
    this.#silence = setTimeout(() => this.hello("wake"), SILENCE);
    if (news.kind === "leader") this.hello();
    else this.#take(news);
  }

  #take(news) {
    if (news.kind === "event") this.onEvent(news.name, news.data);
    else if (news.state) this.onState(news.state);
  }

  #post(news) {
    this.#channel?.postMessage(news);
  }
}

/** How text and times look: one decoration for rows of the server and rows of this script. */
class Looks {
  static #time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  static #full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
  static #date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  static #link = /\bhttps?:\/\/[^\s<>"\u0000-\u001f\u007f-\u00a0]+/gi;

  static time(date) {
    return { textContent: this.#time.format(date), title: this.#full.format(date) };
  }

  static day(date) {
    const today = new Date();
    const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
    if (date.toDateString() === today.toDateString()) return "Today";
    if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
    return this.#date.format(date);
  }

  /** A name's colour is a hue; the style sheet gives it a lightness that can be read. */
  static paint(face, from) {
    let hash = 0;
    for (const character of from) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
    face.style.setProperty("--hue", Math.round((hash * 137.508) % 360));
  }

  /** The text with its http(s) links, and nothing else, made clickable. */
  static linked(text) {
    const parts = [];
    let end = 0;
    for (const match of text.matchAll(this.#link)) {
      const address = this.#trimmed(match[0]);
      if (!URL.canParse(address)) continue;
      const link = element("a", { href: address, rel: "noopener nofollow ugc", target: "_blank" }, address);
      parts.push(text.slice(end, match.index), link);
      end = match.index + address.length;
    }
    return [...parts, text.slice(end)];
  }

  /** Without the punctuation of the sentence around it: a closing bracket belongs to it if one opened in it. */
  static #trimmed(address) {
    const pairs = { ")": "(", "]": "[", "}": "{" };
    for (;;) {
      const last = address.at(-1);
      const count = (character) => address.split(character).length;
      const unopened = pairs[last] && count(last) > count(pairs[last]);
      if (!unopened && !/[.,:;!?'*_~”’…]/.test(last)) return address;
      address = address.slice(0, -1);
    }
  }
}

const face = (from) =>
  element("span", { className: "face", ariaHidden: "true", textContent: ([...from.trim()][0] ?? "?").toUpperCase() });

/** One message on the page. */
class Row {
  constructor(message, element, user) {
    this.element = element;
    this.own = message.from === user;
    this.become(message);
    element.classList.toggle("own", this.own);
    element.querySelector(".from").textContent = message.from;
    element.prepend(face(message.from));
    element.querySelector(".text").replaceChildren(...Looks.linked(message.text));
    Looks.paint(element, message.from);
  }

  static read(element) {
    const text = (name) => element.querySelector(name).textContent;
    return {
      id: Number(element.dataset.id),
      provisionalId: element.dataset.key,
      from: text(".from"),
      text: text(".text"),
      date: element.querySelector("time").dateTime,
    };
  }

  /** Take over the message's date, and its id if it is official. */
  become(message) {
    this.message = message;
    this.date = new Date(message.date);
    const time = this.element.querySelector("time");
    Object.assign(time, { dateTime: message.date, ...Looks.time(this.date) });
    this.element.dataset.key = message.provisionalId;
    if (!("id" in message)) return;
    this.element.dataset.id = message.id;
    this.say("official");
  }

  /** What is to be known of a message that is not official, with what can be done about it. */
  say(state, note = "", actions = {}) {
    clearTimeout(this.timer);
    this.state = state;
    this.element.dataset.state = state;
    this.note?.remove();
    this.note = null;
    if (!note) return;
    const buttons = Object.entries(actions).map(([name, onclick]) =>
      element("button", { type: "button", textContent: name, onclick }),
    );
    this.note = element("p", { className: "note" }, element("span", { textContent: note }), ...buttons);
    this.element.append(this.note);
  }

  /** The heading of author and day, where the row above does not already give it. */
  follow(previous) {
    const sameDay = previous?.date.toDateString() === this.date.toDateString();
    const close = sameDay && Math.abs(this.date - previous.date) < GROUP;
    this.element.classList.toggle("more", close && previous.message.from === this.message.from);
    const day = sameDay ? "" : Looks.day(this.date);
    if (day && !this.day) this.element.prepend((this.day = element("p", { className: "day" })));
    if (day && this.day.textContent !== day) this.day.textContent = day;
    if (!day) this.day?.remove();
    if (!day) this.day = null;
  }
}

/** The rows: official ones by id and without gaps, then the loose ones. */
class Log {
  #official = [];
  #loose = new Map(); // key -> row
  #keys = new Set(); // of official messages, the newest
  #rows = new WeakMap(); // element -> row
  #quiet = 0;

  constructor(user, last, hasOlder) {
    Object.assign(this, { user, last, hasOlder });
    this.scroller = byId("log");
    this.list = byId("messages");
    this.live = true; // the rows reach to the last message
    this.stuck = true; // the reader is at the bottom
    this.onUnread = () => {};
    this.onChange = () => {};
    this.#quietly(() => {
      for (const item of [...this.list.children]) this.#push(new Row(Row.read(item), item, user));
    });
    this.toBottom();
    // A keyboard that opens, or a text that grows, must not cover the last message.
    new ResizeObserver(() => this.stuck && this.toBottom()).observe(this.scroller);
  }

  get first() {
    return this.#official[0]?.message.id ?? null;
  }
  get lastShown() {
    return this.#official.at(-1)?.message.id ?? null;
  }
  get size() {
    return this.#official.length + this.#loose.size;
  }

  /** Called on every scroll: is the reader at the bottom? */
  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.stuck = this.live && scrollHeight - scrollTop - clientHeight < 40;
    return this.stuck;
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.stuck = this.live;
  }

  /**
   * Change rows while what is being read stays where it is: the bottom of the log, or else the first row in
   * sight, or rather its lower end, because a row may lose its heading to the row above.
   */
  change(mutate) {
    this.look();
    const { top } = this.scroller.getBoundingClientRect();
    const place = (item) => item.getBoundingClientRect().bottom;
    const reading = this.stuck ? [] : [...this.list.children].filter((item) => place(item) > top);
    const places = reading.map(place);
    mutate();
    const kept = reading.findIndex((item) => item.isConnected);
    if (this.stuck) this.toBottom();
    else if (kept >= 0) this.scroller.scrollTop += place(reading[kept]) - places[kept];
    this.onChange();
  }

  /** An official message of the stream. False: there is a gap before it. */
  official(message) {
    const { last } = this;
    if (last !== null && message.id <= last) return true;
    if (last !== null && message.id > last + 1) return false;
    this.last = message.id;
    if (last === null) this.hasOlder = message.id > 1;
    if (message.from !== this.user) this.onUnread(message);
    if (this.live && !this.stuck && this.size >= MAX_ROWS) this.#detach();
    if (this.live) this.#push(this.#settled(message));
    else this.#drop(this.#loose.get(keyOf(message)));
    if (this.live && this.stuck) this.#trimTop();
    return true;
  }

  /** A provisional message of the stream. */
  provisional(message) {
    const key = keyOf(message);
    const known = this.#loose.get(key);
    if (this.#keys.has(key) || !this.live || (known && known.state !== "withdrawn")) return;
    this.#drop(known);
    if (!this.stuck && this.size >= MAX_ROWS) return;
    const row = this.add(message);
    row.say("provisional");
    row.timer = setTimeout(() => row.say("unconfirmed", "not confirmed"), UNCONFIRMED);
    if (this.stuck) this.#trimTop();
  }

  /** Own or provisional: a loose row. */
  add(message) {
    const row = this.#make(message);
    this.#loose.set(keyOf(message), row);
    this.#insert(row, null);
    return row;
  }

  retract(provisionalId) {
    for (const row of this.#loose.values()) {
      if (row.message.provisionalId !== provisionalId) continue;
      if (row.onRetract) row.onRetract();
      else {
        row.say("withdrawn", "withdrawn: it could not be stored");
        row.timer = setTimeout(() => this.change(() => this.#drop(row)), WITHDRAWN);
      }
    }
  }

  isOfficial(message) {
    return this.#keys.has(keyOf(message));
  }

  remove(row) {
    this.change(() => this.#drop(row));
  }

  /** What is shown does not connect to what follows. Messages that are still being sent stay. */
  reset() {
    this.#clear();
    for (const row of [...this.#loose.values()]) if (!row.onRetract) this.#drop(row);
    this.#keys.clear();
    this.last = null;
    this.hasOlder = false;
    this.live = this.stuck = true;
    this.divider = element("li", { className: "divider" }, element("p", { textContent: "Some messages were missed" }));
    this.list.prepend(this.divider);
  }

  /** Older messages, oldest first, that end right before the first row. */
  prepend(messages) {
    this.hasOlder = messages.length > 0 && messages[0].id > 1;
    this.#quietly(() =>
      this.change(() => {
        if (messages.length) this.divider?.remove();
        for (const message of messages.reverse()) {
          if (message.id !== this.first - 1) continue;
          const row = this.#make(message);
          this.#official.unshift(row);
          this.#insert(row, this.list.firstElementChild);
        }
        const excess = this.size - MAX_ROWS;
        if (excess > 0) this.#detach(excess);
      }),
    );
  }

  /** Messages that begin right after the last row: the way back to the end. */
  extend(messages) {
    this.#quietly(() =>
      this.change(() => {
        for (const message of messages)
          if (message.id === this.lastShown + 1) this.#push(this.#settled(message));
        this.#trimTop();
      }),
    );
    this.live = this.lastShown >= this.last;
  }

  /** The newest messages instead of what is shown. */
  replace(messages) {
    this.#quietly(() =>
      this.change(() => {
        this.#clear();
        for (const message of messages) this.#push(this.#settled(message));
        this.hasOlder = this.first > 1;
      }),
    );
    this.live = this.lastShown >= this.last;
    this.toBottom();
  }

  /** The days have new names after midnight. */
  renameDays() {
    for (const item of this.list.children) {
      const row = this.#rows.get(item);
      if (row?.day) row.day.textContent = Looks.day(row.date);
    }
  }

  #make(message) {
    const item = byId("row").content.firstElementChild.cloneNode(true);
    return new Row(message, item, this.user);
  }

  #settled(message) {
    const row = this.#loose.get(keyOf(message));
    if (!row) return this.#make(message);
    this.#loose.delete(keyOf(message));
    row.become(message);
    row.onOfficial?.();
    return row;
  }

  /** At the end of the official rows. A row that is already there is not moved, so not read out again. */
  #push(row) {
    const { message, element: item } = row;
    this.#official.push(row);
    this.#keys.add(keyOf(message));
    if (this.#keys.size > KEYS) this.#keys.delete(this.#keys.values().next().value);
    const [loose] = this.#loose.values();
    const above = this.#official.at(-2)?.element;
    if (item.isConnected && (item.previousElementSibling === (above ?? this.divider ?? null) || !loose)) {
      this.#rows.set(item, row);
      this.#follow(item);
      this.#follow(item.nextElementSibling);
    } else if (item.isConnected) {
      const next = item.nextElementSibling;
      this.#quietly(() => this.#insert(row, loose.element));
      this.#follow(next);
    } else this.#insert(row, loose?.element ?? null);
  }

  #insert(row, before) {
    this.#rows.set(row.element, row);
    this.list.insertBefore(row.element, before);
    this.#follow(row.element);
    this.#follow(row.element.nextElementSibling);
  }

  #follow(item) {
    this.#rows.get(item)?.follow(this.#rows.get(item.previousElementSibling));
  }

  #drop(row) {
    if (!row) return;
    clearTimeout(row.timer);
    if (this.#loose.get(keyOf(row.message)) === row) this.#loose.delete(keyOf(row.message));
    const next = row.element.nextElementSibling;
    const focused = row.element.contains(document.activeElement);
    row.element.remove();
    if (next) this.#follow(next);
    if (focused) byId("text").focus();
    if (!this.isOfficial(row.message)) return;
    row.onOfficial?.();
  }

  #trimTop() {
    const excess = this.size - MAX_ROWS;
    if (excess <= 0) return;
    this.divider?.remove();
    this.hasOlder = true;
    for (const row of this.#official.splice(0, excess)) row.element.remove();
    this.#follow(this.list.firstElementChild);
  }

  /** The reader is far up: give up the rows at the end, and what others are about to add to them. */
  #detach(rows = 0) {
    this.live = this.stuck = false;
    for (const row of rows ? this.#official.splice(-rows) : []) row.element.remove();
    for (const row of [...this.#loose.values()]) if (!row.onRetract) this.#drop(row);
    const [loose] = this.#loose.values();
    if (loose) this.#follow(loose.element);
  }

  #clear() {
    for (const row of this.#official.splice(0)) row.element.remove();
    this.divider?.remove();
    this.divider = null;
  }

  /** Rows that are only redrawn or old are no news: they are not read out. */
  #quietly(redraw) {
    this.scroller.setAttribute("aria-live", "off");
    redraw();
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.scroller.setAttribute("aria-live", "polite"), 300);
  }
}

/** Loads what is above or, after a long way up, below the rows. */
class History {
  #busy = false;
  #scrolled = 0;
  #failed = 0;

  constructor(path, log) {
    Object.assign(this, { path, log });
    this.button = byId("older");
    this.note = byId("older-note");
    this.button.onclick = () => this.older();
    log.scroller.addEventListener("scroll", () => this.#scroll(), { passive: true });
  }

  draw() {
    this.button.hidden = !this.log.hasOlder;
  }

  older() {
    const { first } = this.log;
    return this.#load(`before=${first}`, (messages) => {
      const focused = document.activeElement === this.button;
      this.log.prepend(messages.filter((message) => message.id < first));
      this.draw();
      if (focused && this.button.hidden) this.log.scroller.focus({ preventScroll: true });
    });
  }

  newer() {
    return this.#load(`before=${this.log.lastShown + 1 + PAGE}`, (messages) => this.log.extend(messages));
  }

  newest() {
    return this.#load("", (messages) => this.log.replace(messages));
  }

  async #load(query, use) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const answer = await fetch(`${this.path}?limit=${PAGE}&${query}`, {
        headers: { Accept: "application/json" },
        cache: "no-store",
        signal: AbortSignal.timeout(POST_TIMEOUT),
      });
      if (!answer.ok) throw new Error(`${answer.status}`);
      use((await answer.json()).messages);
      this.#failed = 0;
      this.#say("");
    } catch {
      this.#failed = Date.now();
      this.#say("They could not be loaded. Try again in a moment.");
    } finally {
      this.#busy = false;
    }
  }

  #say(note) {
    this.note.textContent = note;
    this.note.hidden = !note;
  }

  #scroll() {
    clearTimeout(this.#scrolled);
    this.#scrolled = setTimeout(() => {
      const { scrollTop, scrollHeight, clientHeight } = this.log.scroller;
      if (Date.now() - this.#failed < LEADER_ANSWERS) return;
      if (this.log.hasOlder && scrollTop < NEAR) this.older();
      else if (!this.log.live && scrollHeight - scrollTop - clientHeight < NEAR) this.newer();
    }, SETTLED);
  }
}

/** Sends one message after the other, so that they keep their order. What is not sent survives a reload. */
class Outbox {
  #entries = [];
  #busy = false;

  constructor(path, log) {
    Object.assign(this, { path, log });
    this.name = `outbox:${path}`;
    for (const message of tab.get(this.name, []))
      if (message.from === log.user && !log.isOfficial(message))
        this.#fail(this.#enter(message), "Not confirmed before the page was left.");
    this.#save();
  }

  send(text) {
    const message = {
      from: this.log.user,
      text,
      date: new Date().toISOString(),
      provisionalId: uuid(),
    };
    this.#queue(this.#enter(message));
    this.#save();
  }

  #enter(message) {
    let row;
    this.log.change(() => (row = this.log.add(message)));
    const entry = { message, row, tries: 0 };
    row.onRetract = () => {
      if (entry.state === "sending") this.#fail(entry, "Withdrawn: the server could not store it.");
    };
    row.onOfficial = () => this.#done(entry);
    this.#entries.push(entry);
    return entry;
  }

  #queue(entry) {
    entry.state = "queued";
    entry.tries = 0;
    entry.row.say("pending");
    this.#pump();
  }

  async #pump() {
    if (this.#busy) return;
    this.#busy = true;
    for (let entry; (entry = this.#entries.find(({ state }) => state === "queued")); ) await this.#try(entry);
    this.#busy = false;
  }

  async #try(entry) {
    entry.state = "sending";
    let answer, body;
    try {
      answer = await fetch(this.path, {
        method: "POST",
        headers: { Accept: "application/json", "Content-Type": "application/json" },
        body: JSON.stringify(entry.message),
        signal: AbortSignal.timeout(POST_TIMEOUT),
      });
      body = await answer.json().catch(() => ({}));
    } catch {
      return this.#fail(entry, "Not sent: the server cannot be reached.");
    }
    if (entry.state === "done") return;
    if (answer.ok) this.#stored(entry, body);
    else if (answer.status === 429 || answer.status === 503)
      await this.#wait(entry, answer, answer.status === 429 ? "Too many messages at once" : "The server is busy");
    else this.#fail(entry, `Not sent: ${body.error?.message ?? `the server answered ${answer.status}`}.`);
  }

  /** The server has it; the stream will bring it, unless it has already gone by. */
  #stored(entry, message) {
    if (this.log.last !== null && message.id <= this.log.last) this.log.remove(entry.row);
    else entry.row.say("stored");
    entry.row.onRetract = null;
    this.#done(entry);
  }

  async #wait(entry, answer, why) {
    entry.tries += 1;
    if (entry.tries >= TRIES) return this.#fail(entry, `Not sent: ${why.toLowerCase()}.`);
    const seconds = Math.min(Math.max(Number(answer.headers.get("Retry-After")) || 2, 1), 60);
    entry.state = "waiting";
    await new Promise((resolve) => {
      entry.wake = resolve;
      const actions = { Retry: resolve, Discard: () => this.#discard(entry) };
      this.log.change(() => entry.row.say("waiting", `${why}. Trying again in ${seconds} s.`, actions));
      setTimeout(resolve, seconds * 1_000);
    });
    if (entry.state !== "waiting") return;
    this.#refocus(entry);
    entry.row.say("pending");
    entry.state = "queued";
  }

  #fail(entry, why) {
    if (entry.state === "done") return;
    entry.state = "failed";
    const retry = () => {
      this.#refocus(entry);
      this.#queue(entry);
    };
    const actions = { Retry: retry, Discard: () => this.#discard(entry) };
    this.log.change(() => entry.row.say("failed", why, actions));
  }

  #discard(entry) {
    this.log.remove(entry.row);
    this.#done(entry);
  }

  #refocus(entry) {
    if (entry.row.element.contains(document.activeElement)) byId("text").focus();
  }

  #done(entry) {
    entry.state = "done";
    entry.wake?.();
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#save();
  }

  #save() {
    tab.set(this.name, this.#entries.map(({ message }) => message));
  }
}

/** The text field: it grows, counts near the limit, and gives its text to `send`. */
class Composer {
  constructor(path, send) {
    this.send = send;
    this.name = `draft:${path}`;
    this.form = byId("composer");
    this.field = byId("text");
    this.counter = byId("counter");
    this.button = this.form.querySelector("button");
    this.field.removeAttribute("maxlength"); // it would cut a pasted text without a word
    if (!this.field.value) this.field.value = tab.get(this.name, "");
    this.form.onsubmit = (event) => this.#submit(event);
    this.field.oninput = () => this.#draw();
    this.field.onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      this.#submit(event);
    };
    this.#draw();
  }

  #submit(event) {
    event.preventDefault();
    // Characters that the server refuses, and nobody sees, come from pasting.
    const text = this.field.value.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|\p{Cs}/gu, "");
    if (!text.trim() || this.#excess(text) > 0) return;
    this.field.value = "";
    this.#draw();
    this.send(text);
    this.field.focus();
  }

  #excess(text) {
    return text.length > WARN_TEXT ? [...text].length - MAX_TEXT : -MAX_TEXT;
  }

  #draw() {
    const { field, counter } = this;
    const excess = this.#excess(field.value);
    counter.hidden = excess < WARN_TEXT - MAX_TEXT;
    counter.textContent = excess > 0 ? `${excess} too many` : `${-excess} left`;
    counter.classList.toggle("over", excess > 0);
    field.setAttribute("aria-invalid", excess > 0);
    this.button.disabled = excess > 0;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
    tab.set(this.name, field.value);
  }
}

/** One line on the connection. */
class Status {
  #trouble = 0; // since when
  #timer = 0;

  constructor() {
    this.line = document.querySelector("[role=status]");
    this.state = { kind: "opening" };
    this.#write("connecting", "Connecting", "…");
  }

  show(state) {
    this.state = state;
    clearTimeout(this.#timer);
    if (state.kind === "open") {
      this.#trouble = 0;
      return this.#write("connected", "Connected");
    }
    this.#trouble ||= Date.now();
    const quiet = this.#trouble + BLIP - Date.now();
    if (quiet > 0) this.#timer = setTimeout(() => this.#tick(), quiet);
    else this.#tick();
  }

  #tick() {
    const seconds = Math.ceil((this.state.until - Date.now()) / 1_000);
    if (!navigator.onLine) this.#write("offline", "Offline", ": it goes on when the network is back");
    else this.#write("reconnecting", "Reconnecting", seconds > 0 ? ` in ${seconds} s` : "…");
    if (seconds > 0) this.#timer = setTimeout(() => this.#tick(), 1_000);
  }

  /** The detail is for the eye: a countdown that is read out every second helps nobody. */
  #write(state, text, detail = "") {
    document.documentElement.dataset.state = state;
    if (this.line.textContent === text + detail) return;
    if (this.line.firstChild?.nodeValue !== text) this.line.replaceChildren(text, element("span", { ariaHidden: "true" }));
    this.line.lastChild.textContent = detail;
  }
}

/** How many messages of others came while nobody looked: in the title, and on the way down to them. */
class Unread {
  #count = 0;

  constructor(log, jump) {
    this.log = log;
    this.title = document.title;
    this.button = byId("fresh");
    this.button.onclick = jump;
    log.onUnread = () => {
      if (away() || !log.stuck) this.#count += 1;
    };
    log.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
  }

  draw() {
    const stuck = this.log.look();
    if (stuck && !away()) this.#count = 0;
    const title = (this.#count ? `(${this.#count}) ` : "") + this.title;
    if (document.title !== title) document.title = title;
    this.button.hidden = stuck || !this.#count;
    if (!this.button.hidden) this.button.textContent = `${this.#count} new`;
  }
}

/** The parts of a room's page, and the events that go between them. */
class Room {
  #inbox = [];
  #today = new Date().toDateString();

  constructor({ messages: path, user, last, older }) {
    this.log = new Log(user, Number(last), older !== undefined);
    this.status = new Status();
    this.history = new History(path, this.log);
    this.unread = new Unread(this.log, () => this.#jump());
    this.log.onChange = () => this.draw();
    this.outbox = new Outbox(path, this.log);
    this.composer = new Composer(path, async (text) => {
      if (!this.log.live) await this.history.newest();
      this.log.toBottom();
      this.outbox.send(text);
    });
    this.tabs = new Tabs(
      path,
      () => this.log.last,
      (name, data) => this.#receive(name, data),
      (state) => this.status.show(state),
    );
    this.draw();
    this.#listen();
    this.tabs.start();
  }

  draw() {
    this.history.draw();
    this.unread.draw();
    document.querySelector(".empty").hidden = this.log.size > 0;
  }

  #listen() {
    const wake = () => {
      if (away()) return;
      this.#newDay();
      this.unread.draw();
      this.tabs.wake();
    };
    addEventListener("online", wake);
    addEventListener("offline", () => this.status.show(this.status.state));
    document.addEventListener("visibilitychange", wake);
    addEventListener("pagehide", () => this.tabs.stop());
    addEventListener("pageshow", (event) => (event.persisted ? this.tabs.start() : wake()));
  }

  #receive(name, data) {
    if (!["message", "retraction", "stream-reset"].includes(name)) return;
    if (!this.#inbox.length) setTimeout(() => this.#flush(), BATCH);
    this.#inbox.push([name, data]);
  }

  #flush() {
    const events = this.#inbox.splice(0);
    let whole = true;
    this.#newDay();
    this.log.change(() => {
      for (const [name, data] of events) {
        const value = JSON.parse(data);
        if (name === "stream-reset") this.log.reset();
        else if (name === "retraction") this.log.retract(value.provisionalId);
        else if (!("id" in value)) this.log.provisional(value);
        else whole = this.log.official(value) && whole;
      }
    });
    if (!whole) this.tabs.hello();
  }

  #newDay() {
    const today = new Date().toDateString();
    if (today !== this.#today) this.log.renameDays();
    this.#today = today;
  }

  async #jump() {
    if (!this.log.live) await this.history.newest();
    this.log.toBottom();
    this.log.scroller.focus({ preventScroll: true });
    this.draw();
  }
}

/** The address without the name, to be shared; a tab stays with its name although the cookie is common. */
function keepName({ path, user }) {
  const named = new URLSearchParams(location.search).has("user");
  const before = tab.get("user");
  if (!named && before && before !== user) {
    tab.set("user", user); // once only, or else a server that ignores the name would be asked for ever
    location.replace(`${path}?user=${encodeURIComponent(before)}`);
    return false;
  }
  tab.set("user", user);
  if (named) history.replaceState(null, "", path + location.hash);
  return true;
}

function rememberRoom(room) {
  const rooms = browser.get("rooms", []).filter((other) => other !== room);
  browser.set("rooms", [room, ...rooms].slice(0, RECENT_ROOMS));
}

function listRooms(current) {
  const nav = document.querySelector(".recent");
  const rooms = browser.get("rooms", []).filter((room) => typeof room === "string" && room !== current);
  if (!nav || !rooms.length) return;
  nav.replaceChildren(
    ...rooms.map((room) => element("a", { href: `/${encodeURIComponent(room)}` }, element("bdi", { textContent: room }))),
  );
  nav.hidden = false;
}

/** The menu closes as menus do, and copies the room's address where the browser allows that. */
function furnishMenu(path) {
  const menu = document.querySelector(".menu");
  const close = () => (menu.open = false);
  document.addEventListener("click", (event) => menu.contains(event.target) || close());
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    close();
    menu.querySelector("summary").focus();
  });
  const copy = byId("copy");
  copy.hidden = !navigator.clipboard;
  copy.onclick = async () => {
    await navigator.clipboard.writeText(new URL(path, location.href).href);
    copy.textContent = "Link copied";
    await pause(2_000);
    copy.textContent = "Copy link";
  };
}

document.documentElement.classList.add("js");
const main = byId("room");
listRooms(main?.dataset.room);
if (main && keepName(main.dataset)) {
  rememberRoom(main.dataset.room);
  for (const me of document.querySelectorAll(".menu .face, .menu .me")) Looks.paint(me, main.dataset.user);
  furnishMenu(main.dataset.path);
  new Room(main.dataset);
}
