// The links of a text: addresses that begin with http://, https:// or www., and nothing else.
//
// An address ends where a reader of its script would end it. Some characters are never in one (white space,
// brackets and quotes beyond ASCII, the full-width and CJK punctuation, behind which no space is written); others
// are in it only if something follows (punctuation of any script that ends a sentence or a part of one). A joiner
// stays between letters, or emoji, that need it; all else that nobody sees ends the address.

const NEVER =
  "\\s<>\"`\\p{C}\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}" +
  "\\u3001-\\u3003\\ufe10-\\ufe19\\ufe30\\ufe50-\\ufe57\\uff01-\\uff0f\\uff1a\\uff1b\\uff1f\\uff20\\uff61\\uff64";
const YET = "()[\\]{}’"; // of those: brackets are looked at again, and an apostrophe is within a word
const JOINER = "[\\u200c\\u200d](?=[\\p{L}\\p{M}\\p{So}])";
const LETTER = "[\\p{L}\\p{M}\\p{N}]";
const REST = `(?:[${YET}]|[^${NEVER}]|${JOINER})*`;
const ADDRESS = new RegExp(
  `(^|[^\\p{L}\\p{M}\\p{N}_.@/-])(www\\.(?:${LETTER}|-)+\\.${LETTER}${REST})` +
    `|\\bhttps?:\\/\\/[\\p{L}\\p{N}[]${REST}`,
  "giu",
);
const BRACKETS = { ")": "(", "]": "[", "}": "{" };
const ENDING = /[.,:;!?'*_~’…\p{Terminal_Punctuation}]/u;
const MOST = 20; // characters that are taken off the end of an address

// The text in its order, as { text } and { text, href }: of the first `most` addresses.
export function partsOf(text, most = Infinity) {
  const parts = [];
  let end = 0;
  for (const { 0: all, 1: before = "", 2: bare, index } of text.matchAll(ADDRESS)) {
    if (!most--) break;
    const address = withoutSentence(bare ?? all);
    const start = index + before.length;
    parts.push({ text: text.slice(end, start) }, { text: address, href: bare ? `https://${address}` : address });
    end = start + address.length;
  }
  return [...parts, { text: text.slice(end) }].filter((part) => part.text);
}

// An address without the punctuation after it; a closing bracket is its own if it was opened in it.
function withoutSentence(address, most = MOST) {
  const count = (character) => address.split(character).length;
  const end = [...address.slice(-2)].at(-1);
  const open = BRACKETS[end];
  const strange = open ? count(end) > count(open) : ENDING.test(end);
  return strange && most ? withoutSentence(address.slice(0, -end.length), most - 1) : address;
}

// Where a long address may go on in the next line: behind what its parts end with, in `most` places.
export function pieces(address, most = Infinity) {
  const all = address.match(/[^/?&=#]*[/?&=#]+|[^/?&=#]+/g);
  const rest = all.splice(most).join("");
  return rest ? [...all, rest] : all;
}
