// On which side a line stands: where its first letter beyond mentions, links and code belongs. So Unicode has it, and
// `unicode-bidi: plaintext`; but WebKit looks into those as well. So a line that begins with one is given a mark that
// nobody sees or copies (chat.css).

const LETTER = /[\p{L}\u200e\u200f\u061c]/u;
const RIGHT = /[\u0590-\u08ff\u200f\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

// The parts of a text (texts.js), with { side: "ltr" or "rtl" } where a mark is to be.
export function withSides(parts) {
  const made = [];
  let place = null; // of the mark of this line, if it needs one
  let settled = false; // the line has had a letter
  const settle = (letter = "") => {
    if (place !== null) made.splice(place, 0, { side: RIGHT.test(letter) ? "rtl" : "ltr" });
    place = null;
  };
  for (const part of parts) {
    const isText = "text" in part && !part.href;
    if (!isText && !part.block && !settled) place ??= made.length;
    for (const line of isText ? part.text.split(/(?<=\n)/) : part.block ? ["\n"] : []) {
      const letter = settled ? null : line.match(LETTER)?.[0];
      if (letter) settle(letter);
      settled ||= Boolean(letter);
      if (!line.endsWith("\n")) continue;
      settle();
      settled = false;
    }
    made.push(part);
  }
  settle();
  return made;
}
