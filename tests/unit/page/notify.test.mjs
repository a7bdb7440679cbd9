// Who is spoken to.

import assert from "node:assert/strict";
import test from "node:test";

import { mentions } from "../../../static/notify.js";

for (const [text, name, wanted] of [
  ["@Ann hello", "Ann", true],
  ["hello @ann, and you", "Ann", true],
  ["(@Ann)", "Ann", true],
  ["hello\n@Ann", "Ann", true],
  ["@Anna", "Ann", false],
  ["@Ann2", "Ann", false],
  ["@Ann_B", "Ann", false],
  ["bob@ann.example.org", "Ann", false],
  ["Ann, hello", "Ann", false],
  ["@Ann Lee: yes", "Ann Lee", true],
  ["@Ann: yes", "Ann Lee", false],
  ["@a.b*c(d", "a.b*c(d", true],
  ["@axb", "a.b", false],
  ["@Zoe\u0308!", "Zo\u00eb", true],
  ["@דנה שלום", "דנה", true],
  ["@😀!", "😀", true],
])
  test(`${JSON.stringify(text)} ${wanted ? "speaks" : "does not speak"} to ${name}`, () =>
    assert.equal(mentions(text, name), wanted));
