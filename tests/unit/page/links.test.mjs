// Which parts of a text can be clicked.

import assert from "node:assert/strict";
import test from "node:test";

import { partsOf } from "../../../static/links.js";

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
    for (const part of partsOf(text)) assert.ok(!part.href || part.href === part.text); // nor leads elsewhere
  });

test("a text without links is one part, an empty one none", () => {
  assert.deepEqual(partsOf("hello"), [{ text: "hello" }]);
  assert.deepEqual(partsOf(""), []);
});
