import { byId } from "./dom.js";

// How many messages of others came while nobody looked: in the title, and on the way down to them.
export class Unread {
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
