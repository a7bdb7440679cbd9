// What is one's own: by the user whom a token vouches for; without one, what this browser has sent.

import assert from "node:assert/strict";
import test from "node:test";

import { Identity } from "../../../static/identity.js";

function browser(stored = {}) {
  const heard = {};
  globalThis.window = globalThis;
  globalThis.localStorage = {
    getItem: (name) => stored[name] ?? null,
    setItem: (name, value) => (stored[name] = value),
  };
  globalThis.addEventListener = (name, listener) => ((heard[name] ??= []).push(listener));
  return { stored, changed: () => heard.storage?.forEach((listener) => listener()) };
}

const message = (more = {}) => ({ from: "Ann", text: "hi", provisionalId: "a", ...more });

test("with a user, own is what is theirs, whatever the name", () => {
  browser();
  const ann = new Identity("Ann", "ann@example.org");
  assert.ok(ann.owns(message({ user: "ann@example.org" })));
  assert.ok(ann.owns(message({ user: "ann@example.org", from: "Annie" })));
  for (const other of [message(), message({ user: "eve" })]) assert.ok(!ann.owns(other));
  const sent = ann.sign({ text: "hi", provisionalId: "a" });
  assert.deepEqual(sent, message({ user: "ann@example.org" }));
  ann.sends(sent);
  assert.ok(!ann.owns(message()), "what nobody vouches for is not theirs");
});

test("without a user, own is what this browser has sent under the name, and no name is enough", () => {
  const { stored } = browser();
  const ann = new Identity("Ann", undefined);
  assert.ok(!ann.owns(message()));
  ann.sends(message());
  assert.ok(ann.owns(message()));
  assert.ok(!ann.owns(message({ provisionalId: "b" })));
  assert.ok(!ann.owns(message({ user: "ann" })), "somebody has signed in to send that");
  assert.ok(!new Identity("Bob").owns(message()), "another tab, under another name");
  assert.ok(new Identity("Ann").owns(message()), "after a reload");
  assert.equal(JSON.parse(stored["flychat:sent"]).length, 1);
});

test("who signs in later does not own what was sent without a user, nor does who signs out own what was", () => {
  browser();
  new Identity("Ann").sends(message());
  const ann = new Identity("Ann", "ann");
  assert.ok(!ann.owns(message()));
  ann.sends(message({ user: "ann" }));
  assert.ok(!new Identity("Ann").owns(message({ user: "ann" })));
});

test("what another tab sends is known when it says so, and is not lost when this one sends", () => {
  const { changed } = browser();
  const [one, other] = [new Identity("Ann"), new Identity("Ann")];
  other.sends(message({ provisionalId: "b" }));
  let learned = 0;
  one.onLearn = () => (learned += 1);
  changed();
  assert.equal(learned, 1);
  assert.ok(one.owns(message({ provisionalId: "b" })));
  other.sends(message({ provisionalId: "c" }));
  one.sends(message({ provisionalId: "d" }));
  changed();
  for (const identity of [one, other, new Identity("Ann")])
    for (const provisionalId of ["b", "c", "d"]) assert.ok(identity.owns(message({ provisionalId })));
});

test("the browser remembers the last 400, the page all of its own", () => {
  const { stored } = browser();
  const ann = new Identity("Ann");
  for (let n = 0; n < 450; n += 1) ann.sends(message({ provisionalId: `${n}` }));
  ann.sends(message({ provisionalId: "449" })); // again
  assert.equal(JSON.parse(stored["flychat:sent"]).length, 400);
  assert.ok(ann.owns(message({ provisionalId: "0" })));
  const later = new Identity("Ann");
  assert.ok(later.owns(message({ provisionalId: "449" })));
  assert.ok(later.owns(message({ provisionalId: "50" })));
  assert.ok(!later.owns(message({ provisionalId: "49" })));
});

test("a browser that remembers nothing costs no more than that", () => {
  browser();
  globalThis.localStorage = undefined;
  const ann = new Identity("Ann");
  ann.sends(message());
  assert.ok(ann.owns(message()));
  assert.ok(!new Identity("Ann").owns(message()));
});
