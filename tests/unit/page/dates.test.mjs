// Names of days, and what shares a heading. The time zone is one with half hours.

import assert from "node:assert/strict";
import test from "node:test";

process.env.TZ = "Asia/Kolkata"; // before the module is loaded
const { clock, dayName, fullDate, grouping, zoneIsNew } = await import("../../../static/dates.js");

const at = (date, from = "Bob", user) => ({ date: new Date(date), from, user });

test("days have names, by the reader's midnight", () => {
  const now = new Date("2026-01-30T18:31:00Z"); // 00:01 on the 31st
  assert.equal(dayName(new Date("2026-01-30T18:30:00Z"), now), "Today");
  assert.equal(dayName(new Date("2026-01-30T18:29:59Z"), now), "Yesterday");
  assert.equal(dayName(new Date("2026-01-29T18:30:00Z"), now), "Yesterday");
  assert.match(dayName(new Date("2026-01-29T18:29:59Z"), now), /29/);
  assert.match(dayName(new Date("2026-02-01T00:00:00Z"), now), /2026/); // a clock ahead of ours
});

test("the first of January comes after the last of December", () => {
  assert.equal(dayName(new Date("2025-12-31T12:00:00Z"), new Date("2026-01-01T12:00:00Z")), "Yesterday");
});

test("times are the reader's", () => {
  assert.match(clock.format(new Date("2026-01-30T18:31:00Z")), /^(00:01|12:01\sAM)$/);
  assert.match(fullDate.format(new Date("2026-01-30T18:31:00Z")), /31.*2026/);
});

for (const [name, previous, next, wanted] of [
  ["the first message", undefined, at("2026-01-31T12:00:00Z"), [false, false]],
  ["soon after", at("2026-01-31T12:00:00Z"), at("2026-01-31T12:09:59Z"), [true, true]],
  [
    "in the next ten minutes of the clock",
    at("2026-01-31T12:09:00Z"),
    at("2026-01-31T12:10:00Z"),
    [true, false],
  ],
  ["of another author", at("2026-01-31T12:00:00Z"), at("2026-01-31T12:01:00Z", "Cid"), [true, false]],
  [
    "of somebody who calls himself like one whom a token vouches for",
    at("2026-01-31T12:00:00Z", "Bob", "bob"),
    at("2026-01-31T12:01:00Z"),
    [true, false],
  ],
  [
    "of another user of the same name",
    at("2026-01-31T12:00:00Z", "Bob", "bob"),
    at("2026-01-31T12:01:00Z", "Bob", "eve"),
    [true, false],
  ],
  [
    "of the same user",
    at("2026-01-31T12:00:00Z", "Bob", "bob"),
    at("2026-01-31T12:01:00Z", "Bob", "bob"),
    [true, true],
  ],
  ["much later", at("2026-01-31T12:00:00Z"), at("2026-01-31T13:00:00Z"), [true, false]],
  ["after midnight", at("2026-01-30T18:29:59Z"), at("2026-01-30T18:30:01Z"), [false, false]],
  ["at the same time on another day", at("2026-01-29T12:00:00Z"), at("2026-01-30T12:00:00Z"), [false, false]],
])
  test(`day and heading: ${name}`, () => {
    const { sameDay, sameHeading } = grouping(previous, next);
    assert.deepEqual([sameDay, sameHeading], wanted);
  });

test("a long monologue has a heading every ten minutes", () => {
  const times = Array.from({ length: 12 }, (_, n) => at(Date.UTC(2026, 0, 31, 12, 3 * n)));
  const more = times.map((each, n) => grouping(times[n - 1], each).sameHeading);
  const wanted = [false, true, true, true, false, true, true, false, true, true, false, true];
  assert.deepEqual(more, wanted);
});

test("at midnight begins a new heading, also where it falls within ten minutes of the clock", (t) => {
  const { TZ } = process.env;
  t.after(() => (process.env.TZ = TZ));
  process.env.TZ = "Asia/Kathmandu"; // midnight is at 18:15 UTC
  const { sameDay, sameHeading } = grouping(at("2026-01-30T18:14:00Z"), at("2026-01-30T18:16:00Z"));
  assert.deepEqual([sameDay, sameHeading], [false, false]);
});

test("in another time zone everything has another date, from when it is asked for", (t) => {
  const { TZ } = process.env;
  t.after(() => (process.env.TZ = TZ) && zoneIsNew());
  const date = new Date("2026-01-30T18:31:00Z"); // in Kolkata already the 31st
  assert.ok(!zoneIsNew());
  process.env.TZ = "America/New_York";
  assert.ok(zoneIsNew());
  assert.match(clock.format(date), /^(13:31|1:31\sPM)$/);
  assert.match(fullDate.format(date), /30.*2026/);
  assert.equal(dayName(date, new Date("2026-01-31T04:59:00Z")), "Today");
  assert.ok(!zoneIsNew());
});
