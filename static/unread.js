import { byId, element, write } from "./dom.js";
import { browser, recall, remember } from "./memory.js";

// How many messages of others came while nobody looked, also while the page was not open: in the title, in a line
// above the first of them, and on the button that leads down to the newest.
//
// `seen` is the last id that was there when the bottom of the log was looked at; the browser remembers it, for all
// tabs. The line stays for the eye when all is seen, until something comes unseen again.
export class Unread {
  #title = document.title;
  #icon = document.querySelector("link[rel=icon]");
  #icons = [this.#icon.href, this.#icon.href.replace("favicon", "favicon-unread")];
  #button = byId("fresh");
  #line = element("div", { className: "fresh", lang: "en" });
  #from = null; // the line stands above the first message of others beyond this id
  #count = 0; // that it tells

  constructor(path, log, jump) {
    Object.assign(this, { log, name: `seen:${path}` });
    this.seen = recall(browser, this.name, 0);
    if (!this.seen || this.seen > log.last) this.#see(log.last, 0); // the first time here, or it was another log
    this.#button.onclick = jump;
    log.onChange = () => this.draw();
    log.onReplaced = () => remember(browser, this.name, (this.seen = 0));
    log.scroller.addEventListener("scroll", () => this.draw());
    addEventListener("storage", ({ key }) => key?.endsWith(this.name) && this.draw());
    this.draw(true);
  }

  draw(opened = false) {
    this.#see(Math.min(recall(browser, this.name, 0), this.log.last)); // in another tab
    const looks = this.log.look() && !document.hidden;
    const unread = this.#after(this.seen);
    if (unread && (opened || !looks)) this.#from = this.seen;
    if (this.#from === this.seen) this.#count = unread;
    this.#place();
    if (looks) this.#see(this.log.last);
    const left = looks ? 0 : unread;
    document.title = (left ? `(${left}) ` : "") + this.#title;
    const icon = this.#icons[left ? 1 : 0];
    if (this.#icon.href !== icon) this.#icon.href = icon;
    this.#button.hidden = !left && !this.log.isFar;
    write(this.#button, left ? `${left} new` : "Newest");
  }

  // All ids beyond one are messages, but own ones are not news; those that are not loaded are not known to be own.
  #after(id) {
    const own = this.log.rows.filter((row) => row.message.id > id && this.log.identity.owns(row.message));
    return Math.max(this.log.last - id - own.length, 0);
  }

  #see(id, seen = this.seen) {
    if (id <= seen) return;
    this.seen = id;
    remember(browser, this.name, id);
  }

  #place() {
    if (this.#from === null) return;
    const row = this.log.rows.find(
      ({ message }) => message.id > this.#from && !this.log.identity.owns(message),
    );
    write(this.#line, `${this.#count} new`);
    if (!row) return this.#line.remove();
    if (this.#line.parentElement === row.item) return;
    row.item.prepend(this.#line); // a row that was as high without it
    if (this.log.stuck) this.log.toBottom();
  }
}
