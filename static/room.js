// A room's page, wired: events go from the tabs' stream to the log, own messages from the composer through
// the outbox to the server. Both are shown as rows; which of them where is decided in conversation.js.

import { Address } from "./address.js";
import { Band, notice } from "./band.js";
import { Calendar } from "./calendar.js";
import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { History } from "./history.js";
import { Identity } from "./identity.js";
import { Log } from "./log.js";
import { browser, recall } from "./memory.js";
import { Outbox } from "./outbox.js";
import { Status } from "./status.js";
import { Tabs } from "./tabs.js";
import { unfolds } from "./unfold.js";
import { Unread } from "./unread.js";

const BATCH = 16; // ms in which events are gathered, to be shown at once
const ENDS = {
  expired: "Your access to this room has expired.",
  revoked: "Your access to this room was withdrawn.",
  private: "This room is private, and you may not read it any more.",
};

export class Room {
  #inbox = [];
  #ended = false;
  #open = false; // the stream, or it is in turns

  constructor({ room, user, sub, session, private: guarded, last, older, now, signals }) {
    const path = byId("composer").getAttribute("action");
    const log = (this.log = new Log(new Identity(user, sub), Number(last), older !== undefined));
    this.calendar = new Calendar(path, log, now);
    this.status = new Status();
    this.history = new History(path, log);
    unfolds(log);
    this.unread = new Unread(path, log, () => this.#jump());
    this.outbox = new Outbox(path, log);
    new Address(log, this.history);
    this.composer = new Composer(path, (text) => this.#send(text));
    this.band = new Band(
      () => {
        const { trouble, until } = this.status;
        const sending = this.outbox.state;
        const login = sending.login || this.status.login;
        return { trouble, ...sending, login, until: trouble ? until : sending.until };
      },
      () => this.#tryNow(),
      () => this.outbox.discard(),
    );
    this.status.onChange = this.outbox.onChange = () => this.band.draw();
    this.outbox.onAnswer = () => this.#open || this.#ended || this.tabs.hello("wake");
    const take = (news) => {
      if (news.kind === "event") this.signals?.take(news);
      if (news.kind === "event") return news.type !== "signal" && this.#receive(news);
      this.status.show(news);
      const open = news.kind === "open" || news.kind === "turns";
      if (open && !this.#open) this.outbox.wake();
      this.#open = open;
      if (news.kind === "ended") this.#end(news);
    };
    this.tabs = new Tabs(path, () => log.last, take, { session, isPrivate: guarded !== undefined });
    this.#notifies(path, room);
    this.#listen();
    this.tabs.start();
    if (signals !== undefined) this.#signal(path, user);
  }

  #listen() {
    const wake = () => {
      if (this.#ended) return;
      if (document.hidden) return this.tabs.rest();
      this.calendar.look();
      this.unread.draw();
      this.tabs.hello("wake");
    };
    addEventListener("online", () => {
      this.status.show();
      if (!this.#ended) this.tabs.hello("online");
      this.outbox.wake();
    });
    addEventListener("offline", () => this.status.show());
    document.addEventListener("visibilitychange", wake);
    // A tab that the browser freezes would keep its connection, and answer nobody who needs it.
    document.addEventListener("freeze", () => this.tabs.stop());
    document.addEventListener("resume", () => this.#ended || this.tabs.start());
    addEventListener("pagehide", () => {
      this.tabs.stop();
      this.outbox.stop();
    });
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) this.outbox.start();
      if (persisted && !this.#ended) this.tabs.start();
      else wake();
    });
  }

  // Of notifications nothing is loaded before somebody opens the menu, where they are chosen, or has chosen some.
  #notifies(path, room) {
    const parts = { identity: this.log.identity, unread: this.unread, isUnseen: () => this.tabs.speaks() };
    let asked = false;
    const load = async () => {
      if (asked || !globalThis.Notification) return;
      asked = true;
      const { Notifications } = await import("./notify.js").catch(() => (asked = false) || {});
      if (Notifications) this.notifications = new Notifications(path, room, parts);
    };
    const wanted = () => recall(browser, `notify:${path}`, "off") !== "off" && load();
    document.querySelector(".menu").addEventListener("toggle", load);
    addEventListener("storage", wanted); // another tab has chosen: this one may lead
    wanted();
  }

  // Where they cannot be loaded, as from a server of the release before, there are none.
  async #signal(path, user) {
    const early = [];
    this.signals = { take: (news) => early.push(news), end() {} };
    const { Signals } = await import("./signals.js").catch(() => ({}));
    this.signals = Signals && !this.#ended ? new Signals(path, user) : null;
    for (const news of early) this.signals?.take(news);
  }

  #tryNow() {
    if (!this.#ended) this.tabs.hello("online");
    this.outbox.retry();
  }

  // The right to read has ended: what is shown stays, and nothing is asked for any more.
  #end({ reason }) {
    if (this.#ended) return;
    this.#ended = true;
    this.tabs.stop();
    this.composer.close();
    this.signals?.end();
    notice(ENDS[reason] ?? ENDS.private, ["Enter again", location.pathname]);
  }

  #receive(event) {
    if (!this.#inbox.length) setTimeout(() => this.#flush(), BATCH);
    this.#inbox.push(event);
    this.notifications?.hear(event);
  }

  #flush() {
    const events = this.#inbox.splice(0);
    let whole = true;
    this.log.redate();
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
    this.log.scroller.focus({ preventScroll: true });
    this.unread.draw();
  }
}
