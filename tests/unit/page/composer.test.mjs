// How the length of a text is told, and what is taken out of it.

import assert from "node:assert/strict";
import test from "node:test";

import { cleaned, count } from "../../../static/composer.js";

test("characters are counted as the server counts them", () => {
  for (const character of ["x", "é", "名", "😀"])
    assert.deepEqual(
      [4_000, 4_096, 4_099].map((n) => count(character.repeat(n)).excess),
      [-96, 0, 3],
      character,
    );
});

test("the counter is shown near the limit", () => {
  assert.deepEqual(
    [0, 3_000, 3_799, 3_800, 3_801, 4_200].map((n) => count("x".repeat(n)).shown),
    [
      ...[false, false, false],
      ...[false, true, true], // up to 3,800 nothing is counted
    ],
  );
});

test("it is read out at steps and not at every key", () => {
  const left = [150, 101, 100, 99, 51, 50, 49, 10, 9, 1, 0, -1, -2];
  const steps = left.map((n) => count("x".repeat(4_096 - n)).step);
  const spoken = left.filter((_, n) => n && steps[n] !== steps[n - 1]);
  assert.deepEqual(spoken, [100, 50, 10, 0, -1]);
});

test("what nobody sees and the server refuses is taken out, and nothing else", () => {
  assert.equal(cleaned("a\u0000b\u0007c\u001bd\u007fe\u0085f\ud800g"), "abcdefg");
  const kept = "two\nlines\tand 😀 \u200d \u202e \u2028  spaces ";
  assert.equal(cleaned(kept), kept);
});

test("blank lines around a text are not sent", () => {
  assert.equal(cleaned("\n \n\thello\n\nyou \n\t\n"), "\thello\n\nyou ");
  assert.equal(cleaned("  indented"), "  indented");
  assert.equal(cleaned("\u0007\n\nx\n\u0000"), "x");
  assert.equal(cleaned("x\n \t\n \n\n"), "x");
  const pasted = `x${"\n \n".repeat(100_000)}x`; // it would take a minute to look at every end of it
  assert.equal(cleaned(pasted + "\n"), pasted);
});
