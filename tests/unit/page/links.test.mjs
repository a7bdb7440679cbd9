// Which parts of a text can be clicked.

import assert from "node:assert/strict";
import test from "node:test";

import { partsOf, pieces } from "../../../static/links.js";

const links = (text) =>
  partsOf(text)
    .filter(({ href }) => href)
    .map(({ href }) => href);

for (const [text, wanted] of [
  ["See https://example.org/a_(b)?c=d&e=%20#f, please", ["https://example.org/a_(b)?c=d&e=%20#f"]],
  ["(http://example.com/x).", ["http://example.com/x"]],
  ["HTTPS://EXAMPLE.ORG!", ["HTTPS://EXAMPLE.ORG"]],
  ["not ftp://example.org javascript:alert(1) data:text/html,x xhttp://no.example http:// https://.", []],
  ['<https://example.org/> "https://example.com"', ["https://example.org/", "https://example.com"]],
  ["“http://example.org”…", ["http://example.org"]],
  ["http://example.org/[a]] {http://example.com/{b}}", ["http://example.org/[a]", "http://example.com/{b}"]],
  ["https://[::1]:3000/ and https://例え.jp/道", ["https://[::1]:3000/", "https://例え.jp/道"]],
  [
    "https://example.org/\u202egnp.exe https://example.org/a\u0000b",
    ["https://example.org/", "https://example.org/a"],
  ],
  ["http://a.example,http://b.example", ["http://a.example,http://b.example"]],
  ["http://a.example\nhttp://b.example", ["http://a.example", "http://b.example"]],
  ["请看https://example.org/a，谢谢。https://例え.jp/道。「https://a.example/b」", [
    ...["https://example.org/a", "https://例え.jp/道", "https://a.example/b"],
  ]],
  ["（https://a.example/b）、https://a.example/c！《https://a.example/d》：https://a.example/e｡", [
    ...["https://a.example/b", "https://a.example/c", "https://a.example/d", "https://a.example/e"],
  ]],
  ["انظر https://example.org/a، ثم https://example.org/b؛ https://example.org/c؟ https://example.org/d۔", [
    ...["https://example.org/a", "https://example.org/b", "https://example.org/c", "https://example.org/d"],
  ]],
  ["देखो https://example.org/a। https://example.org/b॥", ["https://example.org/a", "https://example.org/b"]],
  ["https://example.org/a։ https://example.org/b። https://example.org/c။ https://example.org/d។", [
    ...["https://example.org/a", "https://example.org/b", "https://example.org/c", "https://example.org/d"],
  ]],
  ["„https://example.org/a“ «https://example.org/b» ‹https://example.org/c› ‚https://example.org/d‘", [
    ...["https://example.org/a", "https://example.org/b", "https://example.org/c", "https://example.org/d"],
  ]],
  ["`https://example.org/a` ⟨https://example.org/b⟩ ❮https://example.org/c❯", [
    ...["https://example.org/a", "https://example.org/b", "https://example.org/c"],
  ]],
  ["https://fr.example/L’Équipe, ’https://fr.example/a’", ["https://fr.example/L’Équipe", "https://fr.example/a"]],
  ["https://ja.example/ジョン・スミス https://ca.example/col·lecció", [
    ...["https://ja.example/ジョン・スミス", "https://ca.example/col·lecció"],
  ]],
  ["https://fa.example/می\u200cخواهم https://a.example/b\u200c https://a.example/👩\u200d🚀!", [
    ...["https://fa.example/می\u200cخواهم", "https://a.example/b", "https://a.example/👩\u200d🚀"],
  ]],
  ["See www.example.org/a?b=c. (WWW.例え.jp) www.हिन्दी.example", [
    ...["https://www.example.org/a?b=c", "https://WWW.例え.jp", "https://www.हिन्दी.example"],
  ]],
  ["www. www.x www..x awww.example.org a@www.example.org x.www.example.org www-a.example.org", []],
  ["https://a.example/?u=www.example.org", ["https://a.example/?u=www.example.org"]],
  [`http://a.example/${"x".repeat(9)}${".".repeat(30)}`, [`http://a.example/xxxxxxxxx${".".repeat(10)}`]],
])
  test(`${JSON.stringify(wanted)} in ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.deepEqual(links(text), wanted);
    assert.equal(
      partsOf(text)
        .map((part) => part.text)
        .join(""),
      text,
    ); // nothing is lost or added
    for (const part of partsOf(text)) {
      const { text: shown, href } = part;
      assert.ok(!href || href === shown || href === `https://${shown}`); // nor leads elsewhere
    }
  });

test("a text without links is one part, an empty one none", () => {
  assert.deepEqual(partsOf("hello"), [{ text: "hello" }]);
  assert.deepEqual(partsOf(""), []);
});

test("of many addresses the first are links, and nothing is lost", () => {
  const text = "www.a.example www.b.example www.c.example";
  const parts = partsOf(text, 2);
  assert.deepEqual(
    parts.filter(({ href }) => href).map((part) => part.text),
    ["www.a.example", "www.b.example"],
  );
  assert.equal(parts.map((part) => part.text).join(""), text);
});

test("a long address is broken behind what its parts end with, and nothing is lost", () => {
  const address = "https://example.org/a/b-c.html?d=e&f=%20#g";
  const wanted = ["https://", "example.org/", "a/", "b-c.html?", "d=", "e&", "f=", "%20#", "g"];
  assert.deepEqual(pieces(address), wanted);
  assert.equal(pieces("x").join(""), "x");
  assert.deepEqual(pieces(address, 2), ["https://", "example.org/", "a/b-c.html?d=e&f=%20#g"]);
  assert.deepEqual(pieces(address, 0), [address]);
  assert.deepEqual(pieces(address, 9), wanted);
});
