import { byId, write } from "./dom.js";

const LINK = "time a";
const NOTE = 3_000; // ms that a note is shown

// Every message has an address, /{room}#ID: with it, the page opens with that message in view, marked, and loads
// what it needs for that. The time of a message is a link to it, and copies it. From the keyboard, one of these links
// is reached by Tab, at first that of the newest message in sight, and the others from there by the arrows.
export class Address {
  #note = byId("history-note");

  constructor(log, history) {
    Object.assign(this, { log, history });
    addEventListener("hashchange", () => this.show());
    log.scroller.addEventListener("click", ({ target }) => target.matches?.(LINK) && this.#copy(target));
    log.scroller.addEventListener("focusin", ({ target }) => this.#offer(target));
    log.scroller.addEventListener("keydown", (event) => this.#move(event));
    this.show();
  }

  async show() {
    const id = Number(location.hash.match(/^#([1-9]\d{0,14})$/)?.[1]);
    if (!id) return;
    const find = () => this.log.rows.find(({ message }) => message.id === id);
    if (!find() && id <= this.log.last && !(await this.history.around(id))) return;
    document.querySelector(".marked")?.classList.remove("marked");
    const item = find()?.item;
    if (!item) return this.#say("This message is not here.");
    item.classList.add("marked");
    item.tabIndex = -1;
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "center" });
    this.log.look();
  }

  #offer(target) {
    const old = this.log.scroller.querySelector(`${LINK}[tabindex="0"]`);
    const link = target.matches(LINK) ? target : target === this.log.scroller && (this.#inSight() ?? old);
    if (!link || link === old) return;
    if (old) old.tabIndex = -1;
    link.tabIndex = 0;
  }

  #inSight() {
    const { bottom } = this.log.scroller.getBoundingClientRect();
    const isAbove = ({ item }) => item.getBoundingClientRect().bottom <= bottom + 1;
    return this.log.rows.findLast(isAbove)?.time.querySelector("a");
  }

  #move(event) {
    const { key, target } = event;
    if (!target.matches(LINK) || event.altKey || event.ctrlKey || event.metaKey) return;
    const items = this.log.rows.map(({ item }) => item);
    const at = items.indexOf(target.closest("li"));
    const to = { ArrowUp: Math.max(at - 1, 0), ArrowDown: at + 1, Home: 0, End: items.length - 1 }[key];
    if (to === undefined) return;
    event.preventDefault();
    items[to]?.querySelector(LINK).focus();
  }

  #copy({ hash }) {
    const address = location.origin + location.pathname + hash;
    navigator.clipboard?.writeText(address).then(
      () => this.#say("Link copied"),
      () => {}, // the address is in the browser's own line, too
    );
  }

  #say(text) {
    this.#note.textContent = this.#note.written = text; // also twice: it is read out again
    setTimeout(() => this.#note.written === text && write(this.#note, ""), NOTE);
  }
}
