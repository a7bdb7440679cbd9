// The side on which a line begins, left or right: its first letter outside of mentions, links and code decides. That is
// the rule of Unicode, and of `unicode-bidi: plaintext`; but WebKit looks into those, too. So before one that would
// decide otherwise there is an invisible mark, which is not copied (chat.css). flychat/web/sides.py has the same rule,
// without links; tests/contract/texts.json has what both must make of a text.

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
