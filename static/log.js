import { Conversation } from "./conversation.js";
import { byId, element } from "./dom.js";
import { Place } from "./place.js";
import { Row } from "./row.js";
import { Timer } from "./timer.js";

const MAX_ROWS = 500;
const LEAST = 250; // official ones, however many are loose
const UNCONFIRMED = 30_000; // ms, after which a provisional message is marked
const REPLACED = "This room begins anew: its messages are no longer those that were here";
const WITHDRAWN = 10_000; // ms that a withdrawn one is shown as such

// The rows: official ones by id and without gaps, then the loose ones. What an event means is decided by the
// conversation; here is what of it the reader sees, where, and what stays in place.
export class Log {
  #official = [];
  #conversation; // decides; `loose` in it are rows, too
  #rows = new WeakMap(); // item -> row
  #quiet = new Timer();
  #older = byId("older");
  #list = byId("messages");
  #empty = document.querySelector(".empty");
  scroller = byId("log");
  #place = new Place(this, this.#list);
  live = true; // the rows reach to the last message

  constructor(identity, last, hasOlder) {
    this.#conversation = new Conversation(last);
    Object.assign(this, { identity, hasOlder });
    identity.onLearn = () => this.#recognize();
    this.#quietly(() => {
      for (const item of [...this.#list.children]) {
        const row = this.#row(Row.read(item), item);
        this.#conversation.settle(row.message);
        this.#push(row);
      }
    });
    this.live = !(this.lastShown < last);
    this.toBottom();
  }

  get hasOlder() {
    return !this.#older.hidden;
  }
  set hasOlder(has) {
    this.#older.hidden = !has;
  }
  get rows() {
    return this.#official;
  }
  get isFar() {
    return !this.live || this.#place.isFar;
  }
  get last() {
    return this.#conversation.last;
  }
  get resets() {
    return this.#conversation.resets;
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
  get #excess() {
    return this.#official.length - Math.max(MAX_ROWS - this.#conversation.loose.size, LEAST);
  }

  get stuck() {
    return this.#place.stuck;
  }
  set stuck(is) {
    this.#place.stuck = is;
  }

  look() {
    return this.#place.look();
  }

  toBottom() {
    this.#place.toBottom();
  }

  change(mutate) {
    this.#place.keep(() => {
      mutate();
      if (this.stuck) this.#trim();
      this.#empty.hidden = this.#official.length + this.#conversation.loose.size > 0;
    });
    this.onChange?.();
  }

  // An event of the stream, as the conversation has it. False if there is a gap before it.
  take(event) {
    const news = this.#conversation.take(event);
    if (news.kind === "official") this.#showOfficial(news);
    else if (news.kind === "provisional") this.#showProvisional(news);
    else if (news.kind === "retraction") for (const row of news.rows) row.onRetract();
    else if (news.kind === "reset") this.#dropShown(news);
    return news.kind !== "gap";
  }

  #showOfficial({ message, row = this.#make(message), afresh }) {
    if (afresh) this.hasOlder = message.id > 1;
    if (this.live && !this.stuck && this.#excess >= 0) this.#detach(0);
    row.becomeOfficial(message);
    if (this.live) this.#push(row);
    else this.#drop(row);
    this.#bury(message);
  }

  // What a message removes stays in its place, without its text.
  #bury({ removes = [] }) {
    for (const row of this.#official)
      if (removes.includes(row.message.id)) row.become(this.#conversation.left(row.message));
  }

  #showProvisional({ message }) {
    if (!this.live || (!this.stuck && this.#excess >= 0)) return;
    const row = this.add(message);
    row.onRetract = () => {
      row.say("withdrawn", "withdrawn: it could not be stored");
      row.timer.set(() => this.remove(row), WITHDRAWN);
    };
    row.say("provisional");
    row.timer.set(() => row.say("unconfirmed", "not confirmed"), UNCONFIRMED);
  }

  // What is shown does not connect with what follows. Messages that are being sent stay.
  #dropShown({ rows, replaced, missed }) {
    this.#clear();
    for (const row of rows) this.#drop(row);
    this.hasOlder = false;
    this.live = this.stuck = true;
    if (replaced) this.onReplaced?.();
    const told = replaced ? REPLACED : missed > 1 ? `${missed} messages were missed` : "Some messages were missed";
    this.#list.prepend(element("li", { className: "divider", lang: "en" }, element("div", {}, told)));
  }

  add(message) {
    const row = this.#make(message);
    const instead = this.#conversation.add(row);
    if (instead) this.#drop(instead);
    if (!instead || instead.withdrawn) this.#insert(row, null);
    else this.#quietly(() => this.#insert(row, null)); // it has been read out
    return row;
  }

  remove(row) {
    this.change(() => this.#drop(row));
  }

  isOfficial(message) {
    return this.#conversation.isOfficial(message);
  }

  // Messages that end right before the first row.
  prepend(messages) {
    this.#redraw(() => {
      if (messages.length) this.#divider?.remove();
      for (const message of messages.reverse()) {
        if (message.id !== this.first - 1) continue;
        const row = this.#make(this.#conversation.left(message));
        this.#official.unshift(row);
        this.#insert(row, this.#list.firstElementChild);
      }
      this.hasOlder = messages.length > 0 && this.first > 1;
      if (this.#excess > 0) this.#detach(this.#excess);
    });
  }

  // Messages that begin right after the last row: the way back to the end. The stream may be behind them.
  append(messages) {
    this.#redraw(() => {
      for (const message of messages)
        if (message.id === (this.lastShown ?? message.id - 1) + 1) this.#push(this.#settle(message));
      this.#conversation.reach(this.lastShown ?? 0);
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

  // Days have other names after midnight, and everything has another date in another time zone.
  redate(zoneIsNew) {
    for (const day of this.#list.querySelectorAll(".day")) this.#rows.get(day.parentElement).nameDay();
    if (!zoneIsNew) return;
    for (const item of this.#list.children) this.#rows.get(item)?.showTime();
    this.#redraw(() => [...this.#list.children].forEach((item) => this.#follow(item)));
  }

  #make(message) {
    return this.#row(message, byId("row").content.firstElementChild.cloneNode(true));
  }

  #row(message, item) {
    item.classList.toggle("own", this.identity.owns(message));
    item.classList.remove("maybe");
    return new Row(message, item);
  }

  #recognize() {
    const isFound = ({ item, message }) => !item.matches(".own") && this.identity.owns(message);
    const found = [...this.#official, ...this.#conversation.loose.values()].filter(isFound);
    if (found.length) this.change(() => found.forEach(({ item }) => item.classList.add("own")));
  }

  // The row of a message that is official.
  #settle(message) {
    const left = this.#conversation.left(message);
    const row = this.#conversation.settle(message) ?? this.#make(left);
    row.becomeOfficial(left);
    this.#bury(message);
    return row;
  }

  // To the end of the official rows. A row that is there is not moved, lest it be read out again.
  #push(row) {
    const above = this.#official.at(-1)?.item ?? this.#divider;
    this.#official.push(row);
    this.#rows.set(row.item, row);
    const [loose] = this.#conversation.loose.values();
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
    this.#conversation.remove(row);
    const next = row.item.nextElementSibling;
    if (row.item.contains(document.activeElement)) byId("text").focus();
    row.item.remove();
    this.#follow(next);
  }

  #trim() {
    if (this.#excess <= 0) return;
    this.#divider?.remove();
    this.hasOlder = true;
    this.#cut(0, this.#excess);
    this.#follow(this.#list.firstElementChild);
  }

  // The reader is far up: give up rows at the end, and what others are adding to them.
  #detach(rows) {
    this.live = this.stuck = false;
    this.#cut(this.#official.length - rows);
    for (const row of this.#conversation.dropLoose()) this.#drop(row);
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
