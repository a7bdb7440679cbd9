import { byId, element } from "./dom.js";
import { Row, keyOf } from "./row.js";
import { Timer } from "./timer.js";

const MAX_ROWS = 500;
const UNCONFIRMED = 30_000; // a provisional message
const WITHDRAWN = 10_000; // shown as such
const KEYS = 2_000;

// The rows: official ones by id and without gaps, then the loose ones.
export class Log {
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
