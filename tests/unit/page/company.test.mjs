// Who is here, and who is typing: what was heard lately, and how it is told.

import assert from "node:assert/strict";
import test from "node:test";

import { Company, inShort, inWords } from "../../../static/company.js";

const here = (...names) => ({ kind: "here", data: { names, more: 0 } });
const typing = (from) => ({ kind: "typing", from });
const told = (known) => inWords(known).map((part) => part.name ?? part).join("");

test("who was named is here for 75 s, and who is named again for longer", () => {
  const company = new Company("ann");
  company.take(here("bob", "cid", "ann"), 0);
  company.take(here("cid"), 40_000);
  assert.deepEqual(company.look(74_999), { here: ["bob", "cid"], typing: [], many: false, until: 75_000 });
  assert.deepEqual(company.look(75_000), { here: ["cid"], typing: [], many: false, until: 115_000 });
  assert.deepEqual(company.look(115_000), { here: [], typing: [], many: false, until: Infinity });
});

test("who types does so for 5 s, or until the message comes, and is here", () => {
  const company = new Company("ann");
  for (const name of ["bob", "cid", "ann"]) company.take(typing(name), 0);
  assert.deepEqual(company.look(4_999).typing, ["bob", "cid"]);
  company.spoke("bob");
  assert.deepEqual(company.look(4_999), { here: ["bob", "cid"], typing: ["cid"], many: false, until: 5_000 });
  assert.deepEqual(company.look(5_000), { here: ["bob", "cid"], typing: [], many: false, until: 75_000 });
});

test("other signals say nothing of who is here", () => {
  const company = new Company("ann");
  company.take({ kind: "wave", from: "bob", data: { names: ["cid"], more: 7 } }, 0);
  assert.deepEqual(company.look(0), { here: [], typing: [], many: false, until: Infinity });
});

test("nobody moves in the list because they are named again", () => {
  const company = new Company("ann");
  company.take(here("bob", "cid"), 0);
  company.take(here("cid", "bob"), 10_000);
  assert.deepEqual(company.look(10_000).here, ["bob", "cid"]);
});

test("beyond 200 names, or where the server has named some only, there are many", () => {
  const company = new Company("ann");
  const names = Array.from({ length: 200 }, (_, number) => `user ${number}`);
  company.take(here(...names), 0);
  assert.equal(company.look(0).many, false);
  company.take(here("one more"), 1_000);
  assert.deepEqual([company.look(1_000).many, company.look(1_000).here.length], [true, 200]);
  assert.equal(company.look(76_000).many, false);
  company.take({ kind: "here", data: { names: ["bob"], more: 3 } }, 100_000);
  assert.equal(told(company.look(100_000)), "bob and many more are here");
});

test("what is not understood is left alone", () => {
  const company = new Company("ann");
  for (const signal of [{ kind: "waving", from: "bob" }, { kind: "here" }, here(7, null), typing(undefined)])
    company.take(signal, 0);
  assert.deepEqual(company.look(0), { here: [], typing: [], many: false, until: Infinity });
});

test("a handful is named, and the others are a number", () => {
  const words = (count) => told({ here: ["A", "B", "C", "D", "E", "F", "G"].slice(0, count), typing: [], many: false });
  assert.equal(words(0), "");
  assert.equal(words(1), "A is here");
  assert.equal(words(2), "A and B are here");
  assert.equal(words(5), "A, B, C, D and E are here");
  assert.equal(words(6), "A, B, C, D, E and 1 more are here");
  assert.equal(words(7), "A, B, C, D, E and 2 more are here");
});

test("who is typing comes before who is here", () => {
  const words = (...typing) => told({ here: ["A", "B", "C"], typing, many: false });
  assert.equal(words("A"), "A is typing…");
  assert.equal(words("A", "B"), "A and B are typing…");
  assert.equal(words("A", "B", "C"), "3 people are typing…");
});

test("where there is no room for names, they are a number", () => {
  assert.equal(inShort({ here: ["A", "B"], typing: [], many: false }), "2 here");
  assert.equal(inShort({ here: ["A", "B"], typing: [], many: true }), "2+ here");
  assert.equal(inShort({ here: ["A", "B"], typing: ["A"], many: true }), "1 typing…");
});
