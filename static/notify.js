import { element } from "./dom.js";
import { browser, recall, remember } from "./memory.js";
import { shown } from "./names.js";

const CHOICES = { off: "Never", mentions: "When I am mentioned", all: "For every message" };
const LETTER = "[\\p{L}\\p{M}\\p{N}_]";
const MOST = 200; // characters of a text

// Whether a text speaks to somebody of that name: @Ann, but neither @Anna nor ann@example.org.
export function mentions(text, name) {
  const literal = name.normalize().replace(/[^\p{L}\p{N}]/gu, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
  return new RegExp(`(?<!${LETTER})@${literal}(?!${LETTER})`, "iu").test(text.normalize());
}

// Notifications while nobody looks at the room, of what is not seen yet: off, unless somebody has chosen otherwise,
// for this room and browser. The browser is asked for its permission by that choice only. Of all tabs of a room the one
// that leads tells; the newest message takes the place of the one before.
export class Notifications {
  #name;
  #shown = null;
  #id = 0; // of the message that is shown
  #last = 0; // the id up to which messages have been heard: they may come again
  #hint = element("p", { className: "hint", ariaLive: "polite" });

  // `isUnseen()`, sooner or later: nobody looks at the room, and this tab speaks for all.
  constructor(path, room, { identity, unread, isUnseen }) {
    Object.assign(this, { room, identity, unread, isUnseen });
    this.#name = `notify:${path}`;
    const choices = Object.entries(CHOICES).map(([choice, words]) => {
      const radio = element("input", { type: "radio", name: "notify", value: choice });
      radio.onchange = () => this.#choose(choice);
      return element("label", {}, radio, words);
    });
    const legend = element("legend", {}, "Notify me while I am away");
    this.box = element("fieldset", { className: "notify" }, legend, ...choices, this.#hint);
    document.querySelector(".menu .sheet").append(this.box); // last: what is being pressed does not move
    document.addEventListener("visibilitychange", () => document.hidden || this.#shown?.close());
    addEventListener("storage", () => {
      if (unread.seen >= this.#last) this.#shown?.close(); // in another tab
      this.#draw();
    });
    this.#draw();
  }

  get choice() {
    const choice = recall(browser, this.#name, "off");
    return choice in CHOICES && Notification.permission === "granted" ? choice : "off";
  }

  // An event of the stream (stream.js).
  async hear({ type, data, id }) {
    if (type === "stream-reset") this.#last = 0;
    if (type !== "message" || !(Number(id) > this.#last)) return;
    this.#last = Number(id);
    const message = JSON.parse(data);
    if (message.removes?.includes(this.#id)) this.#shown.close();
    if (this.choice === "off" || message.removes || message.removed) return;
    const isUnseen = await this.isUnseen();
    const { choice } = this;
    if (!isUnseen || choice === "off" || message.id <= this.unread.seen || this.identity.owns(message)) return;
    if (choice === "all" || mentions(message.text, this.identity.name)) this.#show(message);
  }

  #show({ id, from, text }) {
    const body = `${shown(from)}: ${[...text].slice(0, MOST).join("")}`;
    const icon = document.querySelector(".logo").src;
    const made = new Notification(this.room, { body, icon, tag: this.#name, lang: "" });
    made.onclick = () => {
      focus();
      location.hash = id;
      made.close();
    };
    this.#shown = made;
    this.#id = id;
  }

  async #choose(choice) {
    const asks = choice !== "off" && Notification.permission !== "granted";
    const denied = asks && (await Notification.requestPermission()) !== "granted";
    let problem = denied ? "The browser does not allow them here." : "";
    try {
      const body = `${CHOICES[choice]}: like this.`;
      if (choice !== "off" && !denied) this.#shown = new Notification(this.room, { body, tag: this.#name });
    } catch {
      problem = "This browser shows none for a page."; // on Android
    }
    remember(browser, this.#name, problem ? "off" : choice);
    this.#hint.textContent = problem;
    this.#draw();
  }

  #draw() {
    for (const radio of this.box.querySelectorAll("input")) radio.checked = radio.value === this.choice;
  }
}
