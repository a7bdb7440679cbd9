import { element, write } from "./dom.js";
import { Timer } from "./timer.js";

const BLIP = 3_000; // ms: shorter interruptions are not mentioned

// The connection, in words, from the news of the stream (stream.js).
export class Status {
  #since = null; // performance.now() when the trouble began
  #timer = new Timer();
  #state;
  #text = element("bdi");
  #detail = element("span", { ariaHidden: "true" }); // a countdown that is read out every second helps nobody

  constructor() {
    document.querySelector("[role=status]").replaceChildren(this.#text, this.#detail);
    this.#write("connecting", "Connecting", "…");
  }

  // What is in the way: "offline", "reconnecting" or "ended"; and until when.
  get trouble() {
    const { state } = document.documentElement.dataset;
    return ["offline", "reconnecting", "ended"].includes(state) ? state : null;
  }
  get login() {
    return Boolean(this.#state?.login);
  }
  get until() {
    return this.#state?.until ?? null;
  }

  // What comes counts for more than what the browser knows: a server on this computer needs no network.
  show(state = this.#state) {
    const isThere = state !== this.#state || navigator.onLine;
    this.#state = state;
    this.#timer.stop();
    if (state?.kind === "ended") return this.#write("ended", "Ended");
    if (state?.kind === "open" && isThere) {
      this.#since = null;
      return this.#write("connected", "Connected");
    }
    if (state?.kind === "turns" && isThere) {
      this.#since = null;
      return this.#write("turns", "New messages every 5 s"); // five other windows are live
    }
    this.#since ??= performance.now();
    const quiet = this.#since + BLIP - performance.now();
    if (quiet > 0) return this.#timer.set(() => this.show(), quiet);
    const seconds = Math.ceil((state?.until - performance.now()) / 1_000);
    if (!navigator.onLine) this.#write("offline", "Offline", ": it goes on when the network is back");
    else this.#write("reconnecting", "Reconnecting", seconds > 0 ? ` in ${seconds} s` : "…");
    if (seconds > 0) this.#timer.set(() => this.show(), 1_000);
  }

  #write(state, text, detail = "") {
    document.documentElement.dataset.state = state;
    write(this.#text, text);
    this.#detail.textContent = detail;
    this.onChange?.();
  }
}
