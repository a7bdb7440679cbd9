import { byId } from "./dom.js";

const NOTE = 3_000; // ms that a note is shown

// Every message has an address, /{room}#ID: with it, the page opens with that message in view, marked, and loads
// what it needs for that. The time of a message is a link to it, and copies it.
export class Address {
  #note = byId("history-note");

  constructor(log, history) {
    Object.assign(this, { log, history });
    addEventListener("hashchange", () => this.show());
    log.scroller.addEventListener("click", ({ target }) => target.matches?.("time a") && this.#copy(target));
    this.show();
  }

  async show() {
    const id = Number(location.hash.match(/^#([1-9]\d{0,14})$/)?.[1]);
    if (!id) return;
    const find = () => this.log.rows.find(({ message }) => message.id === id);
    if (!find() && id <= this.log.last) await this.history.around(id);
    document.querySelector(".marked")?.classList.remove("marked");
    const item = find()?.item;
    if (!item) return this.#say("This message is not here.");
    item.classList.add("marked");
    item.tabIndex = -1;
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "center" });
    this.log.look();
  }

  #copy({ hash }) {
    const address = location.origin + location.pathname + hash;
    navigator.clipboard?.writeText(address).then(
      () => this.#say("Link copied"),
      () => {}, // the address is in the browser's own line, too
    );
  }

  #say(text) {
    this.#note.textContent = text;
    setTimeout(() => this.#note.textContent === text && (this.#note.textContent = ""), NOTE);
  }
}
