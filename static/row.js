import { clock, dayName, fullDate, grouping } from "./dates.js";
import { byId, element, paint } from "./dom.js";
import { partsOf, pieces } from "./links.js";
import { Timer } from "./timer.js";

const LONG = 30; // characters of an address, from which on it says where a line may end

// The elements of a text: only links can be clicked.
function linked(text) {
  const within = (address) =>
    address.length < LONG ? [address] : pieces(address).flatMap((piece) => [element("wbr"), piece]).slice(1);
  const link = ({ text, href }) =>
    element("a", { href, rel: "noopener nofollow ugc", target: "_blank" }, ...within(text));
  return partsOf(text).map((part) => (part.href ? link(part) : part.text));
}

// What cannot be seen in a name can be with this.
const unseen = new RegExp(byId("room")?.dataset.unseen, "gu");
const shown = (name) => name.replace(unseen, (_, seen) => seen ?? "\ufffd");

// One message on the page. What it stands for is decided elsewhere (conversation.js, outbox.js), which set:
//   own, pending, withdrawn   see conversation.js
//   onOfficial, onRetract     called when the stream says so
export class Row {
  timer = new Timer();
  day = element("div", { className: "day" });

  constructor(message, item) {
    this.item = item;
    this.time = item.querySelector("time");
    this.time.ariaLive = "off"; // a minute that is corrected is no news
    const name = shown(message.from);
    const face = element("span", { className: "face", ariaHidden: "true" });
    face.dataset.initial = [...name][0].toUpperCase();
    item.prepend(face);
    const author = item.querySelector("bdi");
    author.textContent = name;
    if (name !== message.from) author.dataset.name = message.from;
    if (message.user) this.#vouch(message.user, author);
    this.#write(message);
    paint(item, message.user ?? message.from);
    this.become(message);
  }

  static read(item) {
    const text = (name) => item.querySelector(name).textContent;
    const { id, key, user, removed } = item.dataset;
    const date = text("time").replace(" ", "T");
    const from = item.querySelector("bdi").dataset.name ?? text("bdi");
    const message = { id: Number(id), from, text: text("p"), date, provisionalId: key, user };
    return removed ? { ...message, text: "", removed: Number(removed) } : message;
  }

  #write({ text, removed }) {
    if (removed) this.item.dataset.removed = removed;
    this.item.querySelector("p").replaceChildren(...(removed ? ["(removed)"] : linked(text)));
  }

  // The mark is drawn by the style sheet, in a place where no name can stand.
  #vouch(user, author) {
    this.item.dataset.user = user;
    this.item.querySelector(".face").title = author.title = `Verified: ${shown(user)}`;
    author.after(element("span", { className: "unseen" }, "verified"));
  }

  become(message) {
    if (message.removed && !this.item.dataset.removed) this.#write(message);
    this.message = message;
    this.date = new Date(message.date);
    const shown = clock.format(this.date);
    if (this.time.textContent !== shown) this.time.textContent = shown;
    Object.assign(this.time, {
      dateTime: `${message.date.slice(0, 19)}Z`,
      title: fullDate.format(this.date),
    });
    this.item.dataset.key = message.provisionalId;
    if (!("id" in message)) return;
    this.item.dataset.id = message.id;
    this.say("official");
  }

  get from() {
    return this.message.from;
  }
  get user() {
    return this.message.user;
  }

  becomeOfficial(message) {
    this.onOfficial?.();
    this.become(message);
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
    const { sameDay, sameHeading } = grouping(previous, this);
    this.item.classList.toggle("more", sameHeading);
    this.nameDay();
    if (sameDay) this.day.remove();
    else if (!this.day.isConnected) this.item.prepend(this.day);
  }

  nameDay() {
    const name = dayName(this.date);
    if (this.day.textContent !== name) this.day.textContent = name;
  }
}
