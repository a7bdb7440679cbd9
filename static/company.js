// Who is here, and who is typing, by the signals that this page has lately heard: no server keeps them. No DOM, clock
// or network; `now` is in ms, by any clock that does not jump.
//
// Every page says `here` twice a minute while it is in sight. A name that was not heard for PRESENT, in which two of
// these would have come, is left out. `typing` is said while a text grows, and ends with the message.

const PRESENT = 75_000; // ms for which a name counts as here after it was heard
const TYPING = 5_000; // ms for which a name counts as typing
const MOST = 200; // names that are remembered; beyond that there are "many"
const NAMED = 5; // names that are shown; the others are a number

export class Company {
  #here = new Map(); // name -> until when
  #typing = new Map();
  #many = 0; // until when there are more than were named

  // `me` is the reader's name, which is left out.
  constructor(me) {
    this.me = me;
  }

  take({ kind, from, data }, now) {
    if (kind === "typing") this.#hear(this.#typing, from, now + TYPING);
    if (kind === "typing") this.#hear(this.#here, from, now + PRESENT);
    if (kind !== "here") return;
    for (const name of data?.names ?? []) this.#hear(this.#here, name, now + PRESENT);
    if (data?.more > 0) this.#many = now + PRESENT;
  }

  // A message of this name has come.
  spoke(name) {
    this.#typing.delete(name);
  }

  // What is known now: { here, typing }, names in the order in which they were first heard; whether there are `many`
  // more; and `until` when it stays true by itself.
  look(now) {
    for (const names of [this.#here, this.#typing])
      for (const [name, until] of names) if (until <= now) names.delete(name);
    const ends = [...this.#here.values(), ...this.#typing.values(), this.#many].filter((end) => end > now);
    const [here, typing] = [[...this.#here.keys()], [...this.#typing.keys()]];
    return { here, typing, many: this.#many > now, until: Math.min(...ends) };
  }

  #hear(names, name, until) {
    if (typeof name !== "string" || name === this.me) return;
    if (names.has(name) || names.size < MOST) names.set(name, until);
    else this.#many = until;
  }
}

// In words, as a list of texts and { name }s; empty where there is nobody.
export function inWords({ here, typing, many }) {
  if (typing.length > 2) return [`${typing.length} people are typing…`];
  if (typing.length) return [...listed(typing), typing.length > 1 ? " are typing…" : " is typing…"];
  if (!here.length) return [];
  const beyond = here.length - NAMED;
  const rest = many ? " and many more" : beyond > 0 ? ` and ${beyond} more` : "";
  return [...listed(here.slice(0, NAMED), rest), here.length > 1 || rest ? " are here" : " is here"];
}

// Where there is no room for names.
export const inShort = ({ here, typing, many }) =>
  typing.length ? `${typing.length} typing…` : `${here.length}${many ? "+" : ""} here`;

// A, B and C; or A, B, C and what else there is.
export function listed(names, rest = "") {
  const last = rest ? -1 : names.length - 1;
  const between = (place) => (place === 0 ? [] : [place === last ? " and " : ", "]);
  return [...names.flatMap((name, place) => [...between(place), { name }]), ...(rest ? [rest] : [])];
}
