import { request } from "./stream.js";
import { learn, now } from "./now.js";

// One request to the server, and how long to wait where it asks for patience.

const PATIENCE = 60; // seconds that are waited without asking the person
const TRIES = 8; // in a row

export async function ask(path, options) {
  const sent = performance.now();
  const [answer, body] = await request(path, options);
  learn(Date.parse(answer.headers?.get("Date")), sent);
  return [answer, body];
}

// Retry-After has seconds, or a date. Without one that can be read, it is 2 s.
export function secondsToWait({ headers }) {
  const after = headers.get("Retry-After") ?? 2;
  const seconds = isNaN(after) ? (Date.parse(after) - (Date.parse(headers.get("Date")) || now())) / 1_000 : after;
  return Math.max(1, Math.ceil(seconds)) || 2;
}

// What to do with an answer that came after so many tries:
//   why        what the server asks for patience with; undefined if it does not
//   seconds    that it asks for
//   goesOn     wait, and try again: not more than PATIENCE, nor too often
export function patience(answer, tries) {
  const { status } = answer;
  const why = status === 429 ? "Too many messages at once" : status > 499 ? "The server is busy" : undefined;
  const seconds = secondsToWait(answer);
  return { why, seconds, goesOn: Boolean(why) && seconds <= PATIENCE && tries < TRIES };
}
