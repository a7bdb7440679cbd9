import { base } from "./paths.js";

const HEARD = 1_000; // ms within which other tabs hear that a message is gone: locks may be faster than storage

// Messages that are not sent yet survive their tab. Each has an item of its own in localStorage, so that no two
// tabs write the same one, and a lock of its own: the tab that holds it sends. When a tab goes, its locks are free,
// and another tab that shows the messages goes on, or the next page that is opened.
//
// Without locks (plain http) the tab remembers its own messages through a reload (sessionStorage); without any
// storage, the page does while it is open. `keep` says whether the item survives the tab.
//
// A record is { message, order }, and perhaps { failed, asked } (outbox.js); right before it goes, { stored }: its
// id, or true. Without that, it was discarded.
export class Unsent {
  #prefix;
  #held = new Map(); // id -> release of its lock

  constructor(scope) {
    this.#prefix = `flychat${base}:unsent:${scope}:`;
  }

  get #area() {
    return navigator.locks ? window.localStorage : window.sessionStorage;
  }

  all() {
    let records = [];
    try {
      const names = Object.keys(this.#area).filter((name) => name.startsWith(this.#prefix));
      records = names.map((name) => this.#read(this.#area.getItem(name), name)).filter(Boolean);
    } catch {}
    return records.sort((one, other) => one.order - other.order);
  }

  get(id) {
    try {
      return this.#read(this.#area.getItem(this.#prefix + id), this.#prefix + id);
    } catch {
      return null;
    }
  }

  keep(record) {
    const name = this.#prefix + record.message.provisionalId;
    try {
      this.#area.setItem(name, JSON.stringify(record));
      return this.outlastsTab;
    } catch {
      return false;
    }
  }

  get outlastsTab() {
    return this.#area === window.localStorage;
  }

  // `stored`: the server has it; else it is discarded.
  drop(id, stored) {
    const record = stored && this.get(id);
    if (record) this.keep({ ...record, stored });
    try {
      this.#area.removeItem(this.#prefix + id);
    } catch {}
    setTimeout(() => this.release(id), HEARD);
  }

  // What other tabs do: `heard` gets an id, and its record; null if that is gone.
  listen(heard) {
    addEventListener("storage", ({ key, newValue }) => {
      if (!key?.startsWith(this.#prefix)) return;
      const record = this.#read(newValue, key);
      if (record || newValue === null) heard(key.slice(this.#prefix.length), record);
    });
  }

  // Calls `mine` when this tab is the one that sends the message: sooner or later, or never.
  async hold(id, mine) {
    const asking = new AbortController();
    this.#held.set(id, () => asking.abort());
    const led = () => {
      if (asking.signal.aborted) return null;
      const released = new Promise((resolve) => this.#held.set(id, resolve));
      mine();
      return released;
    };
    try {
      await navigator.locks.request(this.#prefix + id, { signal: asking.signal }, led);
    } catch (error) {
      if (error.name !== "AbortError") led(); // there are no locks: the server stores an id once
    }
  }

  release(id) {
    this.#held.get(id)?.();
    this.#held.delete(id);
  }

  // Another version may have left anything.
  #read(text, name) {
    let record;
    try {
      record = JSON.parse(text);
    } catch {}
    const { message, order, failed } = record ?? {};
    const { provisionalId: id, text: said, date, lastEventId: position = 0 } = message ?? {};
    const texts = [id, said, date, failed?.why ?? ""].every((value) => typeof value === "string");
    const numbers = Number.isFinite(order) && Number.isInteger(position);
    return texts && numbers && name === this.#prefix + id && !isNaN(Date.parse(date)) ? record : null;
  }
}
