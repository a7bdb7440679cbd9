import { byId, write } from "./dom.js";
import { ask, patience } from "./server.js";
import { pause, Timer } from "./timer.js";

const PAGE = 100; // messages that are asked for at once
const NEAR = 400; // pixels to the end of the rows, from which on more are loaded
const REST = 500; // ms without scrolling, before they are shown: what is under a finger must not move
const AFTER_FAILURE = 5_000; // ms, before scrolling loads again
const TOLD = 10_000; // ms that a failure is told

// Older messages on the way up, and newer ones on the way back down.
export class History {
  #turn = Promise.resolve();
  #loading = false;
  #scrolled = 0;
  #failed = -Infinity;
  #told = new Timer();
  #button = byId("older");
  #note = byId("history-note");

  constructor(path, log) {
    Object.assign(this, { path, log });
    this.#button.onclick = () => this.older();
    log.scroller.addEventListener("scroll", () => this.#scroll());
    this.#fill();
  }

  older(patient = false) {
    const use = (messages) => {
      const focused = document.activeElement === this.#button;
      this.log.prepend(messages);
      if (focused && !this.log.hasOlder) this.log.scroller.focus({ preventScroll: true });
    };
    this.#load(`&before=${this.log.first}`, use, patient);
  }

  newer() {
    this.#load(`&after=${this.log.lastShown}`, (messages) => this.log.append(messages), true);
  }

  newest() {
    this.#loading = false;
    return this.#load("", (messages) => this.log.replace(messages));
  }

  // Those before and after a message, in place of what is shown, if it is there; false after a failure.
  around(id) {
    this.#loading = false;
    const use = (messages) => messages.some((message) => message.id === id) && this.log.replace(messages);
    return this.#load(`&before=${id + PAGE / 2}`, use);
  }

  #load(query, use, patient) {
    if (!this.#loading) this.#turn = this.#turn.then(() => this.#get(query, use, patient));
    this.#loading = true;
    return this.#turn;
  }

  async #get(query, use, patient) {
    const { resets, lastShown } = this.log;
    this.#told.stop();
    try {
      const messages = await this.#ask(query);
      for (let left; patient && (left = this.#scrolled + REST - performance.now()) > 0; ) await pause(left);
      if (resets === this.log.resets) use(messages);
      this.#failed = -Infinity;
    } catch {
      this.#failed = performance.now();
    }
    this.#loading = false;
    write(this.#note, this.#failed > 0 ? "The messages could not be loaded. Try again in a moment." : "");
    if (this.#failed > 0) this.#told.set(() => write(this.#note, ""), TOLD);
    if (this.log.lastShown !== lastShown) this.#fill();
    return this.#failed < 0;
  }

  // Where all that is shown fits into the window, nobody can scroll to what follows.
  #fill() {
    const { scrollHeight, clientHeight } = this.log.scroller;
    if (!this.log.live && scrollHeight <= clientHeight) this.newer();
  }

  async #ask(query) {
    for (let tries = 1; ; tries += 1) {
      const [answer, { messages }] = await ask(`${this.path}?limit=${PAGE}${query}`);
      const { goesOn, seconds } = patience(answer, tries);
      if (answer.status !== 429 || !goesOn) return [...messages]; // an error has none, and fails here
      write(this.#note, `More messages in ${seconds} s.`);
      await pause(seconds * 1_000);
    }
  }

  #scroll() {
    this.#scrolled = performance.now();
    if (this.#scrolled - this.#failed < AFTER_FAILURE) return;
    const { scrollTop, scrollHeight, clientHeight } = this.log.scroller;
    if (this.log.hasOlder && scrollTop < NEAR) this.older(true);
    else if (!this.log.live && scrollHeight - scrollTop - clientHeight < NEAR) this.newer();
  }
}
