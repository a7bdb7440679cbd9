import { clock, dayName, fullDate, grouping } from "./dates.js";
import { byId, element, write } from "./dom.js";
import { pieces as addressPieces } from "./links.js";
import { hue, initial, shown } from "./names.js";
import { withSides } from "./sides.js";
import { isBig, isLong, pieces } from "./texts.js";
import { Timer } from "./timer.js";

const LONG = 30; // characters of an address, from which on it says where a line may end
const PLACES = 100; // in one text, where addresses do so: each is an element

function within(address, places) {
  const made = address.length < LONG ? [address] : addressPieces(address, places.left);
  places.left -= made.length - 1;
  return made.flatMap((piece) => [element("wbr"), piece]).slice(1);
}

// What a text is made of: only links can be clicked.
function part({ side, text, href, mention, code, open, close, block }, places) {
  if (side) return element("i", { className: side });
  if (mention) return element("bdi", {}, mention);
  if (href) {
    const link = { href, rel: "noopener nofollow ugc", target: "_blank", dir: "auto" };
    return element("a", link, ...within(text, places));
  }
  if (!code) return text;
  const marks = [open, close].map((mark) => element("s", {}, mark));
  const made = element("code", block ? { className: "block", tabIndex: 0 } : {}, marks[0], code, marks[1]);
  made.dir = "ltr";
  made.translate = false;
  return made;
}

// One message on the page. What it stands for is decided elsewhere (conversation.js, outbox.js), which set:
//   own, pending, withdrawn   see conversation.js
//   onOfficial, onRetract     called when the stream says so
// A row of the server (web/rows.py) has all that one has that is made here, but for links and local times.
export class Row {
  timer = new Timer();

  constructor(message, item) {
    this.item = item;
    this.time = item.querySelector("time");
    this.time.ariaLive = "off"; // a minute that is corrected is no news
    this.day = item.querySelector(".day") ?? element("div", { className: "day" });
    const name = shown(message.from);
    item.querySelector(".face").dataset.initial = initial(name);
    const author = item.querySelector("bdi");
    author.textContent = name;
    if (name !== message.from) author.dataset.name = message.from;
    if (message.user) this.#vouch(message.user, author);
    this.#write(message);
    item.classList.add(`h${hue(message.user ?? message.from)}`);
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
    const place = this.item.querySelector("p");
    const places = { left: PLACES };
    const parts = removed ? ["(removed)"] : withSides(pieces(text)).map((each) => part(each, places));
    place.replaceChildren(...parts);
    place.classList.toggle("big", isBig(text));
    place.classList.toggle("long", isLong(text));
    this.item.querySelector(".unfold")?.remove();
    if (!isLong(text)) return;
    const unfold = element("button", { type: "button", className: "unfold", ariaExpanded: "false" }, "Show all");
    place.after(unfold);
  }

  // The mark is drawn by the style sheet, in a place where no name can stand.
  #vouch(user, author) {
    this.item.dataset.user = user;
    this.item.querySelector(".face").title = author.title = `Verified: ${shown(user)}`;
    author.after(element("span", { className: "unseen", lang: "en" }, "verified"));
  }

  become(message) {
    if (message.removed && !this.item.dataset.removed) this.#write(message);
    const { from, user } = message;
    Object.assign(this, { message, from, user, date: new Date(message.date) });
    this.showTime();
    this.item.dataset.key = message.provisionalId;
    if (!("id" in message)) return;
    this.item.dataset.id = this.item.id = message.id;
    this.time.querySelector("a").href = `#${message.id}`;
    this.say("official");
  }

  showTime() {
    write(this.time.querySelector("a"), clock.format(this.date));
    const dateTime = `${this.message.date.slice(0, 19)}Z`;
    Object.assign(this.time, { dateTime, title: fullDate.format(this.date) });
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
    const made = element("div", { className: "note", lang: "en" }, element("span", {}, note));
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
    this.day.lang = /^(To|Yester)day$/.test(name) ? "en" : "";
    write(this.day, name);
  }
}
