// Dates in the reader's language and time zone, and which messages share a heading.

import { now } from "./now.js";

const GROUP = 600_000; // ms: within such a span of the clock (12:00 to 12:10) messages share a heading

// A formatter keeps the time zone that it was made in: it is made again in another one.
class Format {
  static all = [];
  #made;
  constructor(options) {
    this.renew = () => (this.#made = new Intl.DateTimeFormat(undefined, options));
    this.renew();
    Format.all.push(this);
  }
  format(date) {
    return this.#made.format(date);
  }
}

export const clock = new Format({ timeStyle: "short" });
export const fullDate = new Format({ dateStyle: "full", timeStyle: "medium" });
const longDay = new Format({ dateStyle: "full" });

const zone = () => new Intl.DateTimeFormat().resolvedOptions().timeZone;
let known = zone();

// Whether the reader is in another time zone since the last call; what is formatted from then on is of that one.
export function zoneIsNew() {
  const last = known;
  known = zone();
  if (known !== last) for (const format of Format.all) format.renew();
  return known !== last;
}

export function dayName(date, at = now()) {
  const day = new Date(at);
  for (const name of ["Today", "Yesterday"]) {
    if (date.toDateString() === day.toDateString()) return name;
    day.setDate(day.getDate() - 1);
  }
  return longDay.format(date);
}

// Whether a message is of the same day as the one above it, and goes under its heading, which a token may vouch
// for. Both: { date, from, user }.
export function grouping(previous, next) {
  const sameDay = previous?.date.toDateString() === next.date.toDateString();
  const span = ({ date }) => Math.floor(date / GROUP);
  const sameAuthor = previous?.from === next.from && previous.user === next.user;
  return { sameDay, sameHeading: sameDay && sameAuthor && span(previous) === span(next) };
}
