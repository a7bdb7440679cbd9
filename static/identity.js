import { keyOf } from "./conversation.js";
import { browser, recall, remember } from "./memory.js";

const SENT = 400; // messages of which the browser remembers that it sent them

// Who reads this page: a name, and the user whom a token vouches for, if there is one. What is their own is
// decided by the user: a name can be anybody's. Without a user, own is what this browser has sent under the name.
// That another tab has sent something may be known only after the message has come: `onLearn` is called then.
export class Identity {
  #sent;

  constructor(name, user) {
    Object.assign(this, { name, user });
    this.#read();
    addEventListener("storage", () => {
      this.#read();
      this.onLearn?.();
    });
  }

  owns(message) {
    if (this.user || message.user) return message.user === this.user;
    return message.from === this.name && this.#sent.has(keyOf(message));
  }

  // A message as it will stand in the log.
  sign(message) {
    return { ...message, from: this.name, user: this.user };
  }

  sends(message) {
    if (message.user) return;
    const key = keyOf(message);
    this.#read();
    this.#sent.delete(key);
    this.#sent.add(key);
    remember(browser, "sent", [...this.#sent].slice(-SENT));
  }

  // What is not remembered by the browser is by the page.
  #read() {
    this.#sent = new Set([...(this.#sent ?? []), ...recall(browser, "sent", [])]);
  }
}
