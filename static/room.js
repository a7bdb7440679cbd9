// A room's page, wired: events go from the tabs' stream to the log, own messages from the composer through
// the outbox to the server. Both are shown as rows; which of them where is decided in conversation.js.

import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { History } from "./history.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { Status } from "./status.js";
import { Tabs } from "./tabs.js";
import { Unread } from "./unread.js";

const BATCH = 16; // ms in which events are gathered, to be shown at once

export class Room {
  #inbox = [];

  constructor({ user, last, older }) {
    const path = byId("composer").getAttribute("action");
    const log = (this.log = new Log(user, Number(last), older !== undefined));
    this.status = new Status();
    this.history = new History(path, log);
    this.unread = new Unread(log, () => this.#jump());
    log.onChange = () => this.unread.draw();
    this.outbox = new Outbox(path, log);
    this.composer = new Composer(path, (text) => this.#send(text));
    const take = (news) => (news.kind === "event" ? this.#receive(news) : this.status.show(news));
    this.tabs = new Tabs(path, () => log.last, take);
    this.#listen();
    this.tabs.start();
  }

  #listen() {
    const wake = () => {
      if (document.hidden) return this.tabs.rest();
      this.log.nameDays();
      this.unread.draw();
      this.tabs.hello("wake");
    };
    addEventListener("online", () => {
      this.status.show();
      this.tabs.hello("online");
    });
    addEventListener("offline", () => this.status.show());
    document.addEventListener("visibilitychange", wake);
    addEventListener("pagehide", () => this.tabs.stop());
    addEventListener("pageshow", ({ persisted }) => (persisted ? this.tabs.start() : wake()));
  }

  #receive(event) {
    if (!this.#inbox.length) setTimeout(() => this.#flush(), BATCH);
    this.#inbox.push(event);
  }

  #flush() {
    const events = this.#inbox.splice(0);
    let whole = true;
    this.log.nameDays();
    this.log.change(() => {
      for (const event of events) whole = this.log.take(event) && whole;
    });
    if (!whole) this.tabs.hello();
  }

  #send(text) {
    this.outbox.send(text);
    this.#toNewest();
  }

  async #toNewest() {
    this.log.toBottom();
    if (!this.log.live) await this.history.newest();
  }

  async #jump() {
    await this.#toNewest();
    this.log.focus();
    this.unread.draw();
  }
}
