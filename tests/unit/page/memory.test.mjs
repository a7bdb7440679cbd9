// What is remembered, and what another version may have left there.

import assert from "node:assert/strict";
import test from "node:test";

import { browser, recall, remember } from "../../../static/memory.js";

function store(value) {
  const stored = { "flychat:x": value };
  globalThis.window = globalThis;
  globalThis.localStorage = {
    getItem: (name) => stored[name] ?? null,
    setItem: (name, text) => (stored[name] = text),
  };
}

test("what is remembered is recalled", () => {
  for (const value of [["a", "b"], [], "a", ""]) {
    store();
    remember(browser, "x", value);
    assert.deepEqual(recall(browser, "x", Array.isArray(value) ? ["else"] : "else"), value);
  }
});

for (const left of [undefined, "", "{", "null", "7", "true", "{}", '{"length":2}', '"text"'])
  test(`where a list is looked for, ${left} is none`, () => {
    store(left);
    assert.deepEqual(recall(browser, "x", ["else"]), ["else"]);
  });

for (const left of [undefined, "", "{", "null", "7", "{}", '["a"]'])
  test(`where a text is looked for, ${left} is none`, () => {
    store(left);
    assert.equal(recall(browser, "x", "else"), "else");
  });

test("of a list, only texts are taken", () => {
  store('["a",null,{"room":"b"},7,["c"],"d"]');
  assert.deepEqual(recall(browser, "x", []), ["a", "d"]);
});
