// The page of a room. One rule keeps it right, whatever the network does:
//
//   official messages are shown in the order of their ids, which have no gaps. So an event is the next one
//   (shown), an old one (ignored), or beyond a gap (the stream is asked again from the last id); and
//   `stream-reset` drops what is shown and begins anew.
//
// A message is recognised by its key, (from, provisionalId). A provisional one is a loose row below the
// official ones until the official message of its key takes the row over. Own messages are loose rows too,
// made before they are sent; a retry repeats the key, so it is always safe.
//
// As old events are ignored, a stream may be opened from any earlier place at any time, which mends every fault.

import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { History } from "./history.js";
import { Log } from "./log.js";
import { Outbox } from "./outbox.js";
import { Status } from "./status.js";
import { Tabs } from "./tabs.js";
import { Unread } from "./unread.js";

const BATCH = 16;

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
      for (const { type, data, id } of events) {
        const value = data && JSON.parse(data);
        if (type === "stream-reset") this.log.reset(value, Number(id));
        else if (type === "retraction") this.log.retract(value.provisionalId);
        else if (value.id) whole = this.log.official(value) && whole;
        else if (type === "message") this.log.provisional(value);
      }
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
