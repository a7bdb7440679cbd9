// What time it is for the server, whatever the clock of this computer says.

import assert from "node:assert/strict";
import test from "node:test";

import { Clock } from "./clock.mjs";

const HOURS = 3_600_000;
let copies = 0;

// The module as a page has it whose clock is off by so many ms.
async function page(test, set = 0) {
  const clock = new Clock(test);
  clock.set = set;
  copies += 1;
  return [clock, await import(`../../../static/now.js?${copies}`)];
}

for (const set of [-5 * HOURS, -40, 0, 40, 5 * HOURS])
  test(`it is what an answer says, to a second, where the clock is off by ${set} ms`, async (t) => {
    const [clock, { learn, now }] = await page(t, set);
    clock.run(100);
    learn(Math.floor(clock.now / 1_000) * 1_000, 0);
    clock.run(7_000);
    assert.ok(Math.abs(now() - clock.now) <= 1_100, `${now() - clock.now}`);
  });

test("a clock that is right is believed to the millisecond", async (t) => {
  const [clock, { learn, now }] = await page(t);
  for (let n = 0; n < 20; n += 1) {
    clock.run(730);
    learn(Math.floor(clock.now / 1_000) * 1_000, performance.now() - 20);
    assert.equal(now(), clock.now);
  }
});

for (const set of [-5 * HOURS, 5 * HOURS])
  test(`the more answers, the nearer; and an answer that took long says little (${set})`, async (t) => {
    const [clock, { learn, now }] = await page(t, set);
    for (let n = 0; n < 40; n += 1) {
      clock.run(370);
      learn(Math.floor(clock.now / 1_000) * 1_000, performance.now() - 5);
    }
    const near = Math.abs(now() - clock.now);
    assert.ok(near <= 40, `${near}`);
    learn(clock.now - 15_000, performance.now() - 15_000); // said at the beginning of 15 s
    assert.ok(Math.abs(now() - clock.now) <= near);
  });

test("the clock may be set while the page is open", async (t) => {
  const [clock, { jumped, learn, now }] = await page(t);
  learn(clock.now, performance.now());
  assert.ok(!jumped());
  clock.set = -3 * HOURS;
  assert.equal(now(), clock.now);
  assert.ok(jumped());
  assert.ok(!jumped(), "it is told once");
  clock.run(60_000);
  clock.set += 900; // as a time server does
  assert.ok(!jumped());
});

test("an answer without a date says nothing", async (t) => {
  const [clock, { learn, now }] = await page(t);
  learn(Date.parse(null), 0);
  learn(Number(undefined), 0);
  assert.equal(now(), clock.now);
});
