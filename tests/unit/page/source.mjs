// An EventSource that says what a test wants, and all that were made.

export class Source {
  static all = [];
  static get last() {
    return Source.all.at(-1);
  }
  #heard = {};
  closed = false;

  constructor(url) {
    this.url = url;
    Source.all.push(this);
  }
  addEventListener(name, listener) {
    this.#heard[name] = listener;
  }
  close() {
    this.closed = true;
  }
  say(type, data = "{}", lastEventId = "") {
    this.#heard[type]?.({ type, data, lastEventId });
  }
}
