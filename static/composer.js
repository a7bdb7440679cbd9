import { byId } from "./dom.js";
import { recall, remember, tab } from "./memory.js";

const TEXT_LIMIT = 4_096; // characters, as the server counts them: an emoji outside the first plane is one
const TEXT_NEAR = 3_800; // from here on the counter is shown
const STEPS = [-1, 0, 10, 50, 100]; // characters left at which a screen reader is told

// How the length of a text is told: { excess } over the limit (negative while it is within), whether it is
// `shown`, and the `step` it is at: while that stays the same, it is not read out.
export function count(text) {
  const excess = text.length > TEXT_NEAR ? [...text].length - TEXT_LIMIT : -TEXT_LIMIT;
  return { excess, shown: excess >= TEXT_NEAR - TEXT_LIMIT, step: STEPS.find((left) => -excess <= left) };
}

// Without the characters that nobody sees, and the server refuses: they come from pasting. And without the blank
// lines around a text, that nobody means to send, in linear time.
export const cleaned = (text) =>
  text.replace(/[^\P{Cc}\n\t]|\p{Cs}/gu, "").replace(/^(?:[ \t]*\n)+|(?<!\n[ \t]*)(?:\n[ \t]*)+$/g, "");

// On a touch screen Enter makes a line: there is no other key for it, and the button to send is as near.
const touch = () => matchMedia("(hover: none) and (pointer: coarse)").matches;

// The field, its counter, and the draft that survives a reload.
export class Composer {
  #field = byId("text");
  #counter = byId("counter");
  #form = byId("composer");
  #step;

  constructor(path, send) {
    Object.assign(this, { send, name: `draft:${path}` });
    this.#field.removeAttribute("maxlength"); // it would cut a pasted text without a word
    this.#field.value ||= recall(tab, this.name, "");
    if (touch()) this.#field.enterKeyHint = "enter";
    this.#form.onsubmit = (event) => this.#submit(event);
    this.#field.oninput = () => this.#draw();
    this.#field.onkeydown = (event) => {
      const composing = event.isComposing || event.keyCode === 229; // Enter chooses a word of an input method
      const sends = event.ctrlKey || event.metaKey || !(event.shiftKey || touch());
      if (event.key === "Enter" && sends && !composing) this.#submit(event);
    };
    let width = 0;
    new ResizeObserver(() => {
      if (width === this.#field.clientWidth) return;
      width = this.#field.clientWidth; // the text takes other lines
      requestAnimationFrame(() => this.#draw()); // to draw now would be to change what is observed
    }).observe(this.#field);
    this.#draw();
  }

  // What is written stays, to be copied.
  close() {
    this.#field.readOnly = true;
    this.#draw();
  }

  #submit(event) {
    event.preventDefault();
    if (this.#field.readOnly) return;
    const text = cleaned(this.#field.value);
    if (!text.trim() || count(text).excess > 0) return;
    this.#field.value = "";
    this.#draw();
    this.send(text);
    this.#field.focus();
  }

  #draw() {
    const field = this.#field;
    const counter = this.#counter;
    const { excess, shown, step } = count(cleaned(field.value));
    const over = excess > 0;
    counter.ariaLive = step === this.#step ? "off" : "polite"; // not at every key
    this.#step = step;
    counter.hidden = !shown;
    counter.textContent = over ? `${excess} too many` : `${-excess} left`;
    counter.classList.toggle("over", over);
    field.ariaInvalid = `${over}`;
    this.#form.querySelector("button").disabled = over || field.disabled || field.readOnly;
    this.#form.style.minHeight = `${this.#form.offsetHeight}px`; // nothing else moves while it is measured
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
    this.#form.style.minHeight = "";
    remember(tab, this.name, field.value);
  }
}
