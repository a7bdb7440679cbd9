// On which side a line stands: where its first letter beyond mentions, links and code belongs. So Unicode has it, and
// `unicode-bidi: plaintext`; but WebKit looks into those as well. So before one that says something else there is a
// mark that nobody sees or copies (chat.css). The same rule as in flychat/web/sides.py, which knows of no links;
// tests/contract/texts.json is what both must make of a text.

const LETTER = /[\p{L}\u200e\u200f\u061c]/u;
const RIGHT = /[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

const letterOf = (text) => text.match(LETTER)?.[0];
const sideOf = (letter) => (RIGHT.test(letter) ? "rtl" : "ltr");

// The parts of a text (texts.js), with { side: "ltr" or "rtl" } where a mark is to be.
export function withSides(parts) {
  const made = [];
  let [place, own] = [null, ""]; // of a mark, and what says something for itself there
  let settled = false; // the line has had a letter
  const settle = (letter = "") => {
    if (place !== null && sideOf(letter) !== sideOf(own)) made.splice(place, 0, { side: sideOf(letter) });
    place = null;
  };
  for (const part of parts) {
    const { text, href, mention, code, block } = part;
    const said = block ? "\n" : href || text === undefined ? "" : text;
    const letter = said ? undefined : letterOf(mention ?? code ?? text);
    if (letter && !settled && place === null) [place, own] = [made.length, letter];
    for (const line of said.split(/(?<=\n)/)) {
      const first = settled ? undefined : letterOf(line);
      if (first) settle(first);
      settled ||= Boolean(first);
      if (!line.endsWith("\n")) continue;
      settle();
      settled = false;
    }
    made.push(part);
  }
  settle();
  return made;
}
