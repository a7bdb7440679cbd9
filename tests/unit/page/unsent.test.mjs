// What a tab keeps of the messages that are not sent yet, beside others that wait for their locks.

import assert from "node:assert/strict";
import test from "node:test";

import { Unsent } from "../../../static/unsent.js";
import { Clock } from "./clock.mjs";
import { become } from "./tab.mjs";

// In Chromium and Firefox every fifth lock came before what had been removed right before it was released.
for (const stored of [7, false])
  test(`the lock of a message that is gone is kept until other tabs have heard of that (${stored})`, async (t) => {
    const clock = new Clock(t);
    const kept = new Map();
    globalThis.window = globalThis;
    globalThis.localStorage = {
      getItem: (name) => kept.get(name) ?? null,
      setItem: (name, text) => kept.set(name, text),
      removeItem: (name) => kept.delete(name),
    };
    let held;
    const request = async (name, how, led) => (held = led());
    Object.defineProperty(globalThis, "navigator", { value: { locks: { request } }, configurable: true });
    const unsent = new Unsent("/rooms/tea/messages/:Ann");
    const message = { provisionalId: "p", text: "hi", date: "2026-01-31T12:00:00.000Z" };
    unsent.hold("p", () => {});
    unsent.keep({ message, order: 1 });
    unsent.drop("p", stored);
    assert.equal(kept.size, 0);
    clock.run(900);
    assert.equal(await become(held), "open");
    clock.run(200);
    assert.notEqual(await become(held), "open");
  });
