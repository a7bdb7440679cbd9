// Signals: this page says that its reader is here or typing, and shows who else is. It is loaded only if the server has
// --signals. Screen readers do not read it out by itself: it is in the header, from which a list of all names opens.

import { Company, inShort, inWords, listed } from "./company.js";
import { byId, element } from "./dom.js";
import { shown } from "./names.js";
import { ask, secondsToWait } from "./server.js";
import { Timer } from "./timer.js";

const HERE = 30_000; // ms between two times of saying so, and a tenth more or less
const TYPING = 3_000; // ms
const REFUSED = 30_000; // ms of silence after an answer that is no yes

const named = (parts) =>
  parts.map((part) => (part.name ? element("bdi", { lang: "", translate: false }, shown(part.name)) : part));

export class Signals {
  #here = new Timer();
  #change = new Timer();
  #said = {}; // kind -> performance.now()
  #until = 0; // performance.now() when something may be said again
  #drawn = "";
  #known = { here: [], typing: [] };
  #words = element("summary");
  #all = element("div", { className: "sheet" });
  #box = element("details", { className: "company", hidden: true }, this.#words, this.#all);

  constructor(path, name) {
    this.path = path.replace(/messages\/$/, "signals/");
    this.name = name;
    this.company = new Company(name);
    document.querySelector(".place").append(this.#box);
    for (const event of ["click", "focusin"])
      addEventListener(event, ({ target }) => (this.#box.open &&= this.#box.contains(target)));
    addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !this.#box.open) return;
      this.#box.open = false;
      this.#words.focus();
    });
    new ResizeObserver(() => this.#fit()).observe(this.#words);
    this.writes = !byId("text").disabled;
    byId("text").addEventListener("input", ({ target }) => target.value.trim() && this.#say("typing", TYPING));
    document.addEventListener("visibilitychange", () => this.#look());
    this.#look();
  }

  // Any event of the stream.
  take({ type, data }) {
    const now = performance.now();
    if (type === "signal") this.company.take(JSON.parse(data), now);
    else if (type === "message" && this.company.look(now).typing.length) this.company.spoke(JSON.parse(data).from);
    else return;
    this.#draw();
  }

  // The right to read has ended.
  end() {
    this.writes = false;
    this.#here.stop();
    this.#change.stop();
    this.#box.hidden = true;
  }

  #look() {
    this.#here.stop();
    if (document.hidden || !this.writes) return;
    this.#say("here", HERE / 2); // no more often, however often it is looked at
    this.#here.set(() => this.#look(), HERE * (0.9 + 0.2 * Math.random()));
  }

  async #say(kind, pause) {
    const now = performance.now();
    if (!this.writes || now < this.#until || now - this.#said[kind] < pause) return;
    this.#said[kind] = now;
    try {
      const body = JSON.stringify({ from: this.name, kind });
      const [answer] = await ask(this.path, { method: "POST", body });
      if (answer.ok) return;
      if (answer.status === 404) this.writes = false; // the server has them no more
      this.#until = performance.now() + Math.max(REFUSED, secondsToWait(answer) * 1_000);
    } catch {} // it was worth something at that moment only
  }

  #draw() {
    const now = performance.now();
    const known = this.company.look(now);
    if (isFinite(known.until)) this.#change.set(() => this.#draw(), known.until - now);
    const { here, typing, many } = known;
    const drawn = JSON.stringify([here, typing, many]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const held = this.#box.contains(document.activeElement);
    this.#box.hidden = !here.length && !held; // the focus is not taken away
    this.#known = known;
    this.#fit();
    const told = (what, names) => element("p", {}, what, ...named(names));
    const all = here.length ? listed(here, many ? " and many more" : "") : ["nobody else"];
    this.#all.replaceChildren(told("Here: ", all));
    if (typing.length) this.#all.append(told("Typing: ", listed(typing)));
  }

  // In as many words as the line has room for.
  #fit() {
    const words = inWords(this.#known);
    this.#words.replaceChildren(...(words.length ? named(words) : ["Nobody else is here"]));
    const names = [...this.#words.children];
    const least = 1.5 * this.#words.clientHeight; // of a long one; the others stay whole
    const isLong = ({ scrollWidth }) => scrollWidth > least;
    for (const name of names) name.style.flexShrink = isLong(name) ? 1 : 0;
    const { scrollWidth, clientWidth } = this.#words;
    const isTight = scrollWidth > clientWidth || names.some((name) => isLong(name) && name.clientWidth < least);
    if (words.length && isTight) this.#words.replaceChildren(inShort(this.#known));
  }
}
