// Dates in the reader's language and time zone, and which messages share a heading.

const GROUP = 600_000; // ms: within such a span of the clock (12:00 to 12:10) messages share a heading

const format = (options) => new Intl.DateTimeFormat(undefined, options);
export const clock = format({ timeStyle: "short" });
export const fullDate = format({ dateStyle: "full", timeStyle: "medium" });
const longDay = format({ dateStyle: "full" });

export function dayName(date, now = new Date()) {
  const day = new Date(now);
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
