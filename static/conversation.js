// The order rule: what an event of the stream means, given what is known so far. No DOM, clock or network.
//
//   Official messages are shown in the order of their ids, which have no gaps. So one is the next (shown), an
//   old one (ignored), or it lies beyond a gap (the stream is asked again from `last`). `stream-reset` drops
//   what is shown and begins anew; the next official message is then taken, whichever it is.
//
// A message is recognised by its key, (user, from, provisionalId); without a token there is no user. A message that
// is not official yet is loose: it stands below the official ones until the official message of its key takes its
// place. Own messages are loose, too, from before they are sent; a retry repeats the key, so it is always safe. A
// retraction is for the provisional id of one user.
//
// A message may be removed, by a message that names it. The two may come in any order, and again, also as a page of
// the past: a message that is known to be removed is never shown with its text again. If its author was erased as
// well, it has no name, and so no key: it takes the place of the loose one with its provisional id.
//
// As old events are ignored, a stream may be opened from any earlier position at any time: that repairs every fault.
//
// tests/contract/stream_rule.json is the rule as a table: this module and the Python client go through it.

const REMOVED = 10_000; // ids of messages that are remembered to be removed
const ERASED = "[erased]"; // in the place of a name
const KEYS = 2_000; // of official messages that are remembered: their provisional ones may come late

// No part of it has a line break.
export const keyOf = ({ user, from, provisionalId }) => [user, from, provisionalId].join("\n");

export class Conversation {
  #keys = new Set(); // of official messages
  #removed = new Map(); // id -> that of its removal
  #known = 0; // the last id before a reset: official messages up to it are not news
  #afresh; // true at the beginning or after a reset, until the next official message
  loose = new Map(); // key -> { message, own, pending, withdrawn }, in the page a Row
  resets = 0;

  // `last` is the id of the last official message: the position. Without one (null) any may be the first.
  constructor(last) {
    this.last = last;
    this.#afresh = last === null;
  }

  // What an event means, as { kind, ... }:
  //   official     { message, row, news, afresh }: the next one; `row` was loose until now, or there is none;
  //                `news`: it was not known before a reset; `afresh`: it is the first one after a reset;
  //                it may say what it `removes`: then what is shown of those is to be given to `left` again
  //   provisional  { message, instead }: to be shown, and given to `add`; `instead` of one that was withdrawn
  //   retraction   { rows }: these loose ones could not be stored
  //   reset        { rows, replaced, missed }: nothing of what is shown stays, nor do these loose ones; it is
  //                another log, or so many messages of this one were missed
  //   gap          the stream is to be asked again from `last`
  //   nothing      it is known already, or not about messages
  take({ type, data, id }) {
    const value = data ? JSON.parse(data) : {};
    if (type === "stream-reset") return this.#reset(value, Number(id));
    if (type === "retraction") return this.#retract(value);
    if (value.id) return this.#official(value);
    return type === "message" ? this.#provisional(value) : { kind: "nothing" };
  }

  // A message is official: the loose one of its key, if there is one, is loose no more.
  settle(message) {
    const row = this.#looseOf(message);
    if (row) this.remove(row);
    this.#keys.add(keyOf(message));
    if (this.#keys.size > KEYS) this.#keys.delete(this.#keys.values().next().value);
    return row;
  }

  #looseOf(message) {
    const isIt = (row) => row.message.provisionalId === message.provisionalId;
    const erased = message.removed && message.from === ERASED;
    return erased ? [...this.loose.values()].find(isIt) : this.loose.get(keyOf(message));
  }

  isOfficial(message) {
    return this.#keys.has(keyOf(message));
  }

  // Returns the loose one that it replaces, if there is one.
  add(row) {
    const key = keyOf(row.message);
    const instead = this.loose.get(key);
    this.loose.delete(key); // the new one is the last
    this.loose.set(key, row);
    return instead;
  }

  remove(row) {
    const key = keyOf(row.message);
    if (this.loose.get(key) === row) this.loose.delete(key);
  }

  // The message, without its text if it was removed. Remembers which ones it removes itself.
  left(message) {
    for (const id of message.removes ?? []) this.#removed.set(id, message.id);
    while (this.#removed.size > REMOVED) this.#removed.delete(this.#removed.keys().next().value);
    const removed = message.removed ?? this.#removed.get(message.id);
    return removed ? { ...message, text: "", removed } : message;
  }

  // Messages up to `id` were loaded as a page; the stream may be behind them.
  reach(id) {
    this.last = Math.max(this.last, id);
  }

  // Drops the loose ones, except own ones that have no answer yet.
  dropLoose() {
    const rows = [...this.loose.values()].filter((row) => !row.pending);
    for (const row of rows) this.remove(row);
    return rows;
  }

  #official(message) {
    const { id } = message;
    const afresh = this.#afresh;
    this.#afresh = false;
    if (afresh) this.last = id - 1;
    if (id !== this.last + 1) return { kind: id > this.last ? "gap" : "nothing" };
    this.last = id;
    const row = this.settle(message);
    return { kind: "official", message: this.left(message), row, news: id > this.#known, afresh };
  }

  #provisional(message) {
    const instead = this.loose.get(keyOf(message));
    if (this.isOfficial(message) || (instead && !instead.withdrawn)) return { kind: "nothing" };
    return { kind: "provisional", message, instead };
  }

  // It may come again, or be official after all.
  #retract({ provisionalId, user }) {
    const meant = ({ message }) => message.provisionalId === provisionalId && message.user === user;
    const rows = [...this.loose.values()].filter(meant);
    for (const row of rows) row.withdrawn = !row.own;
    return { kind: "retraction", rows };
  }

  #reset({ reason, lastEventId }, position) {
    const behind = reason === "behind"; // or else it is another log
    if (behind && lastEventId <= this.last) return { kind: "nothing" }; // for another tab on this stream
    const missed = behind ? position - this.last : 0;
    this.#known = behind ? Math.max(this.#known, this.last) : 0;
    this.#keys.clear();
    this.#removed.clear();
    this.last = position;
    this.#afresh = true;
    this.resets += 1;
    return { kind: "reset", rows: this.dropLoose(), replaced: !behind, missed };
  }
}
