import { byId, element, write } from "./dom.js";
import { Timer } from "./timer.js";

const BLIP = 3_000; // ms: shorter trouble is not mentioned, here or by the status

// What is in the way, in one sentence: of the connection (status.js) and of the messages that wait (outbox.js).
// Null if there is nothing. `login`: something else answers, which a new page will show.
function wordsOf({ trouble, count, why, kept, login }) {
  if (trouble === "ended" || !(trouble || why)) return null;
  const reasons = { offline: "You are offline", reconnecting: why ?? "The server cannot be reached" };
  const sent = { offline: "when the network is back" }[trouble] ?? "as soon as possible";
  const messages = count === 1 ? "Your message is" : `Your ${count} messages are`;
  if (login && trouble !== "offline")
    return `The login in front of this chat has ended.${count ? ` ${messages} sent after you sign in.` : ""}`;
  const then = count ? ` ${messages} sent ${sent}.` : " It goes on by itself.";
  return `${reasons[trouble] ?? why}.${then}${kept ? "" : " Keep this page open."}`;
}

// One calm line above the field while something is in the way, with what can be done: for all messages at once.
export class Band {
  #timer = new Timer();
  #since = null; // performance.now() when it began
  #text = element("p", { ariaLive: "polite" });
  #detail = element("span", { ariaHidden: "true", className: "hint" }); // a countdown helps no screen reader
  #signIn = element("button", { type: "button", className: "primary" }, "Sign in again");
  #discard = element("button", { type: "button" }, "Discard");
  #band;

  // `look` gives { trouble, count, why, kept, login, until }.
  constructor(look, tryNow, discard) {
    this.look = look;
    const act = element("button", { type: "button", className: "primary", onclick: tryNow }, "Try now");
    this.#discard.onclick = () => {
      byId("text").focus(); // before the button goes: the band may stay
      discard();
    };
    this.#signIn.onclick = () => this.#signInAgain();
    this.#band = element("div", { className: "band" }, this.#text, this.#detail, this.#signIn, act, this.#discard);
    byId("composer").before(this.#band);
    this.draw();
  }

  draw() {
    this.#timer.stop();
    const state = this.look();
    const words = wordsOf(state);
    this.#since = words && (this.#since ?? performance.now());
    const quiet = this.#since + BLIP - performance.now();
    if (words && !state.trouble && quiet > 0) return this.#timer.set(() => this.draw(), quiet);
    if (!words && this.#band.contains(document.activeElement)) byId("text").focus();
    this.#band.classList.toggle("calm", !words);
    write(this.#text, words ?? "");
    this.#discard.hidden = !state.count;
    this.#signIn.hidden = !state.login;
    const seconds = Math.ceil((state.until - performance.now()) / 1_000);
    const left = seconds > 90 ? `${Math.ceil(seconds / 60)} min` : `${seconds} s`;
    this.#detail.textContent = seconds > 0 && !state.login ? `Next try in ${left}.` : "";
    if (words && seconds > 0) this.#timer.set(() => this.draw(), 1_000);
  }

  // A message that would not outlast this page waits here, for a login in another one.
  #signInAgain() {
    if (this.look().kept) location.reload();
    else open(location.href, "_blank", "noopener");
  }
}

// A sentence about the page as a whole, with what can be done: [name, act or address].
export function notice(text, ...actions) {
  const made = element("div", { className: "notice", role: "alert" }, element("p", {}, text));
  for (const [name, act] of actions) {
    const kind = typeof act === "string" ? ["a", { href: act }] : ["button", { type: "button", onclick: act }];
    made.append(element(kind[0], { className: "primary", ...kind[1] }, name));
  }
  document.querySelector(".notice")?.remove();
  document.querySelector("#composer, .card")?.before(made);
  return made;
}
