// How a name is shown: so that no two look the same because of invisible characters. The same rules as in
// flychat/names.py, which has the reasons; tests/contract/names.json has what both must make of a name.

const EMOJI = "[\u2190-\u27ff\u2900-\u2bff\u{1f000}-\u{1faff}]";
const JOINING = "[\u0600-\u0dff]";
const tags = (code) => [...code].map((letter) => String.fromCodePoint(0xe0000 + letter.charCodeAt())).join("");
const UNSEEN = new RegExp(
  `(\u{1f3f4}(?:${["gbeng", "gbsct", "gbwls"].map(tags).join("|")})\u{e007f}` +
    `|${EMOJI}\ufe0f?(?:\u200d(?=${EMOJI}))?|${JOINING}[\u200c\u200d](?=${JOINING})|[0-9#*]\ufe0f\u20e3)` +
    "|[\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f" +
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb" +
    "\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]" +
    "|^[ \u3000]|[ \u3000](?![^ \u3000])",
  "gu",
);
const HUES = 36;

export const shown = (name) => takenApart(name).replace(UNSEEN, (_, seen) => seen ?? "\ufffd");

// With a circle before what looks like a part of the character before it, and is not.
function takenApart(name) {
  if (name.normalize("NFC") === name) return name;
  let [all, before, told] = ["", "", ""];
  for (const character of name) {
    all += character;
    const composed = all.normalize("NFC");
    told += composed === before + character ? character : `\u25cc${character}`;
    before = composed;
  }
  return told;
}

// What stands for a name (as it is shown) in its face.
export function initial(name) {
  const [first] = Intl.Segmenter ? [...new Intl.Segmenter().segment(name)].map((part) => part.segment) : name;
  return (first ?? "").toUpperCase();
}

// A name has a hue, a class of the style sheet, which gives it a lightness that can be read.
export function hue(name) {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.codePointAt(0)) >>> 0;
  return Math.floor(((hash * 137.508) % 360) / (360 / HUES));
}
