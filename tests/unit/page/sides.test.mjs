// On which side a line stands that begins with something of its own: what is marked, and how.

import assert from "node:assert/strict";
import test from "node:test";

import { withSides } from "../../../static/sides.js";
import { pieces } from "../../../static/texts.js";

const MARKS = { ltr: "<", rtl: ">" };
const shown = (text) =>
  withSides(pieces(text))
    .map(({ side, open = "", close = "", ...part }) => MARKS[side] ?? open + (part.text ?? part.mention ?? part.code) + close)
    .join("");

for (const [text, wanted] of [
  ["hello", "hello"],
  ["שלום", "שלום"],
  ["@Ann hello", "@Ann hello"],
  ["@Ann שלום", ">@Ann שלום"],
  ["@דנה hello", "<@דנה hello"],
  ["hello `דנה`", "hello `דנה`"],
  ["@Ann 12, مرحبا hello", ">@Ann 12, مرحبا hello"],
  ["@דנה", "<@דנה"],
  ["www.example.org שלום", ">www.example.org שלום"],
  ["👉 https://example.org: ߒߞߏ", "👉 >https://example.org: ߒߞߏ"],
  ["שלום www.example.org", "שלום www.example.org"],
  ["`code` `more` שלום", ">`code` `more` שלום"],
  ["hello\n@Ann שלום\n@Bob bye\n\n@Cid", "hello\n>@Ann שלום\n@Bob bye\n\n@Cid"],
  ["@Ann\nשלום", "@Ann\nשלום"],
  ["a\n```\nx\n```\n`b` שלום", "a\n```\nx\n```\n>`b` שלום"],
  ["@Ann ```x``` שלום", "@Ann ```x``` שלום"],
  ["`a` 𞤀", ">`a` 𞤀"],
  ["@דנה שלום", "@דנה שלום"],
  ["@1 `2` `a` שלום", "@1 `2` >`a` שלום"],
])
  test(`the marks of ${JSON.stringify(text)}`, () => assert.equal(shown(text), wanted));
