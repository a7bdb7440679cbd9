// What the text of a message is made of: mentions, code, links. The same rules as in flychat/web/texts.py, which
// has the reasons; tests/contract/texts.json is what both must make of a text.

import { partsOf } from "./links.js";

const LONG = 1_500; // characters
const LONG_LINES = 24;
const MOST = 100; // mentions and code that have elements, in one text; and links

const PARTS =
  /(```(?:[A-Za-z0-9+#.-]*\n)?)((?!`)[^]+?)(\n?```\n?)|`([^`\n]+)`|(^|\n)(@[^ \t\n`]+(?:[ \t]+@[^ \t\n`]+)*)/g;
const PICTURE =
  "[\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f7e0}-\u{1f7eb}\u{1f90c}-\u{1f9ff}\u{1fa70}-\u{1faff}" +
  "\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1\u26bd\u26be\u26c4\u26c5" +
  "\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755\u2757" +
  "\u2795-\u2797\u27b0\u27bf\u2b50\u2b55]\ufe0f?|[\u2190-\u2bff]\ufe0f";
const EMOJI =
  `(?:${PICTURE})[\u{1f3fb}-\u{1f3ff}]?(?:\u200d(?:${PICTURE}|[\u2640\u2642\u2695\u2696\u2708\u2764])` +
  "[\u{1f3fb}-\u{1f3ff}]?)*(?:[\u{e0020}-\u{e007e}]+\u{e007f})?|[\u{1f1e6}-\u{1f1ff}]{2}";
const BIG = new RegExp(`^(?:(?:${EMOJI})[ \\n]*){1,3}$`, "u");
const BIG_CHARACTERS = 60;

const length = (text) => [...text].length;

export const isBig = (text) => length(text) <= BIG_CHARACTERS && BIG.test(text);
export const isLong = (text) => length(text) > LONG || text.split("\n").length > LONG_LINES;

// The text in its order, as { text }, { text, href }, { mention }, and { code, open, close, block }.
export function pieces(text) {
  const made = [];
  let [end, left, links] = [0, MOST, MOST];
  const plain = (upTo) => {
    const parts = partsOf(text.slice(end, upTo), links);
    links -= parts.filter(({ href }) => href).length;
    made.push(...parts);
  };
  for (const { 0: all, 1: open, 2: block, 3: close, 4: code, 5: before, 6: mention, index } of text.matchAll(PARTS)) {
    if (!left--) break;
    plain(index + (before?.length ?? 0));
    if (mention) made.push({ mention });
    else made.push(block ? { code: block, open, close, block: true } : { code, open: "`", close: "`" });
    end = index + all.length;
  }
  plain();
  return made;
}
