// What a text is made of, as the table has it that the server's rules must follow, too; but for links, which only
// the page makes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { withSides } from "../../../static/sides.js";
import { isBig, isLong, pieces } from "../../../static/texts.js";

const cases = JSON.parse(readFileSync(new URL("../../contract/texts.json", import.meta.url)));
const CHARACTERS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" };
const escape = (text) => text.replace(/[&<>"']/g, (character) => CHARACTERS[character]);

function html({ side, text, mention, code, block, open, close }) {
  if (side) return `<i class=${side}></i>`;
  if (mention) return `<bdi>${escape(mention)}</bdi>`;
  if (!code) return escape(text);
  const start = `<code${block ? " class=block tabindex=0" : ""} dir=ltr translate=no>`;
  return `${start}<s>${escape(open)}</s>${escape(code)}<s>${close}</s></code>`;
}

for (const { text, ...wanted } of cases)
  test(`the text ${JSON.stringify(text.slice(0, 60))} of ${text.length}`, () => {
    const made = { html: withSides(pieces(text)).map(html).join(""), big: isBig(text), long: isLong(text) };
    assert.deepEqual(made, wanted);
  });

test("links are found in what is left", () => {
  const made = pieces("@Ann see `www.example.org` or www.example.org.");
  assert.deepEqual(
    made.map(({ mention, code, text, href }) => mention ?? code ?? href ?? text),
    ["@Ann", " see ", "www.example.org", " or ", "https://www.example.org", "."],
  );
});

test("of the addresses of a text the first 100 are links, and nothing is lost", () => {
  const text = `${"www.a.b ".repeat(60)}@Ann \`x\` ${"http://a ".repeat(300)}`;
  const made = pieces(text);
  assert.equal(made.filter(({ href }) => href).length, 100);
  assert.equal(made.map(({ code, mention, text }) => mention ?? (code ? `\`${code}\`` : text)).join(""), text);
});
