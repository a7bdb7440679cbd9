import { byId } from "./dom.js";
import { recall, remember, tab } from "./memory.js";

const TEXT_LIMIT = 4_096;
const TEXT_NEAR = 3_800;
const STEPS = [-1, 0, 10, 50, 100]; // characters that are left, when it is said

export class Composer {
  #field = byId("text");
  #counter = byId("counter");
  #form = byId("composer");
  #step;

  constructor(path, send) {
    Object.assign(this, { send, name: `draft:${path}` });
    this.#field.removeAttribute("maxlength"); // it would cut a pasted text without a word
    this.#field.value ||= recall(tab, this.name, "");
    this.#form.onsubmit = (event) => this.#submit(event);
    this.#field.oninput = () => this.#draw();
    this.#field.onkeydown = (event) => {
      const composing = event.isComposing || event.keyCode === 229; // Enter chooses a word of an input method
      if (event.key === "Enter" && !event.shiftKey && !composing) this.#submit(event);
    };
    this.#draw();
  }

  #submit(event) {
    event.preventDefault();
    // Characters that nobody sees, and the server refuses, come from pasting.
    const text = this.#field.value.replace(/[^\P{Cc}\n\t]|\p{Cs}/gu, "");
    if (!text.trim() || this.#excess(text) > 0) return;
    this.#field.value = "";
    this.#draw();
    this.send(text);
    this.#field.focus();
  }

  #excess(text) {
    return text.length > TEXT_NEAR ? [...text].length - TEXT_LIMIT : -TEXT_LIMIT;
  }

  #draw() {
    const field = this.#field;
    const counter = this.#counter;
    const excess = this.#excess(field.value);
    const over = excess > 0;
    const step = STEPS.find((left) => -excess <= left);
    counter.ariaLive = step === this.#step ? "off" : "polite"; // not at every key
    this.#step = step;
    counter.hidden = excess < TEXT_NEAR - TEXT_LIMIT;
    counter.textContent = over ? `${excess} too many` : `${-excess} left`;
    counter.classList.toggle("over", over);
    field.ariaInvalid = `${over}`;
    this.#form.querySelector("button").disabled = over;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
    remember(tab, this.name, field.value);
  }
}
