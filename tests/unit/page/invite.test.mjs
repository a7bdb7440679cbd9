// Invitations: out of the address at once, and into the session.

import assert from "node:assert/strict";
import test from "node:test";

import { Invitation, claimsOf } from "../../../static/invite.js";

const encoded = (claims) => Buffer.from(JSON.stringify(claims)).toString("base64url");
const tokenOf = (claims) => `e30.${encoded(claims)}.c2lnbmF0dXJl`;

// A page at this address; what it asks the server for is answered by `answers`: a status, in a list by somebody else.
function page(address, ...answers) {
  const url = new URL(address, "http://localhost");
  const asked = [];
  const seen = { asked, address: () => url.pathname + url.search + url.hash, replaced: [], notices: [] };
  Object.defineProperty(globalThis, "location", {
    configurable: true,
    value: {
      get hash() {
        return url.hash;
      },
      pathname: url.pathname,
      search: url.search,
      replace: (path) => seen.replaced.push(path),
    },
  });
  globalThis.history = {
    state: null,
    replaceState: (state, _, path) => Object.assign(url, { hash: "", href: new URL(path, url).href }),
  };
  globalThis.addEventListener = (name, listener) => (seen[name] = () => listener());
  globalThis.fetch = async (path, { method, body }) => {
    asked.push([method, path, JSON.parse(body), seen.address()]);
    const status = answers.shift();
    if (!status) throw new TypeError("no network");
    if (status[0]) return { status: status[0], ok: status[0] < 300, json: async () => ({}) };
    const said = status < 300 ? { user: "ann" } : { error: { code: "a_code" } };
    return { status, ok: status < 300, json: async () => said };
  };
  const element = (name) => ({
    name,
    children: [],
    append(...children) {
      this.children.push(...children);
    },
    remove() {},
  });
  globalThis.document = {
    createElement: element,
    querySelector: (selector) =>
      selector === ".notice" ? null : { before: (made) => seen.notices.push(made) },
  };
  seen.goTo = (hash) => {
    url.hash = hash;
    seen.hashchange();
  };
  seen.text = () => seen.notices.at(-1)?.children[0].children[0];
  seen.press = (name) => {
    const button = seen.notices.at(-1).children.find(({ children }) => children[0] === name);
    button.onclick({ target: { closest: () => ({ remove: () => (seen.removed = true) }) } });
  };
  return seen;
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("claims are read, also those beyond ASCII, and what are none are none", () => {
  for (const name of ["Zoë 山田?>", "Zoë ÿ?", "a?b>c~"]) // base64url with - and _
    assert.deepEqual(claimsOf(tokenOf({ name })), { name });
  for (const nonsense of ["", "a", "a.b", "a.%%.c", "..", `a.${encoded(null)}.c`])
    assert.deepEqual(claimsOf(nonsense), {});
});

test("an invitation leaves the address before anything is asked, and the page is loaded anew", async () => {
  const token = tokenOf({ sub: "ann" });
  const seen = page(`/staff?x=1#invite=${token}`, 200);
  assert.ok(new Invitation({}).take());
  assert.equal(seen.address(), "/staff?x=1");
  await settled();
  assert.deepEqual(seen.asked, [["POST", "/session", { token }, "/staff?x=1"]]);
  assert.deepEqual(seen.replaced, ["/staff"]);
});

test("a page without one asks for nothing, until one is opened in it", async () => {
  const seen = page("/staff#other", 200);
  assert.ok(!new Invitation({}).take());
  assert.equal(seen.address(), "/staff#other");
  seen.goTo("#invite=t");
  await settled();
  assert.equal(seen.asked.length, 1);
});

test("one that is not good is said to be so, and one that could not be asked about can be tried again", async () => {
  const seen = page("/staff#invite=t", 0, 503, 401);
  new Invitation({}).take();
  await settled();
  assert.match(seen.text(), /cannot be reached/);
  seen.press("Try again");
  await settled();
  assert.match(seen.text(), /busy/);
  seen.press("Try again");
  await settled();
  assert.match(seen.text(), /not valid/);
  assert.deepEqual([seen.asked.length, seen.replaced], [3, []]);
});

for (const [answer, told] of [
  [429, /busy/],
  [500, /busy/],
  [400, /not valid/],
  [[200], /login in front/],
  [[401], /login in front/],
])
  test(`an answer of ${JSON.stringify(answer)} is told of`, async () => {
    const seen = page("/staff#invite=t", answer);
    new Invitation({}).take();
    await settled();
    assert.match(seen.text(), told);
    assert.deepEqual(seen.replaced, []);
  });

test("whom it is for is told as names are everywhere: what nobody sees in them is seen, and no more than a name has", () => {
  for (const [name, told] of [
    ["Ann\u200b", "Ann\ufffd"],
    ["\u202eAnn", "\ufffdAnn"],
    ["x".repeat(100_000), "x".repeat(255)],
    [7, "7"],
  ]) {
    const seen = page(`/staff#invite=${tokenOf({ sub: "eve", name })}`, 200);
    new Invitation({ sub: "ann", user: "Ann" }).take();
    assert.equal(seen.text(), `This is an invitation for ${told}. You are signed in as Ann.`);
  }
});

test("who is signed in as somebody else is asked first; as the same, is not", async () => {
  const token = tokenOf({ sub: "eve", name: "Eve" });
  const seen = page(`/staff#invite=${token}`, 200);
  new Invitation({ sub: "ann", user: "Ann" }).take();
  await settled();
  assert.equal(seen.text(), "This is an invitation for Eve. You are signed in as Ann.");
  assert.deepEqual(seen.asked, []);
  seen.press("Stay");
  assert.ok(seen.removed);
  seen.press("Use it");
  await settled();
  assert.equal(seen.asked.length, 1);
  const same = page(`/staff#invite=${tokenOf({ sub: "ann" })}`, 200);
  new Invitation({ sub: "ann", user: "Ann" }).take();
  await settled();
  assert.equal(same.asked.length, 1);
});
