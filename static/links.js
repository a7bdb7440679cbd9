// The links of a text: addresses that begin with http:// or https://, and nothing else.

const ADDRESS = /\bhttps?:\/\/[\p{L}\p{N}[][^\s<>"\p{C}]*/giu;
const BRACKETS = { ")": "(", "]": "[", "}": "{" };
const MOST = 20; // characters that are taken off the end of an address

// The text in its order, as { text } and { text, href }.
export function partsOf(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const href = withoutSentence(match[0]);
    parts.push({ text: text.slice(end, match.index) }, { text: href, href });
    end = match.index + href.length;
  }
  return [...parts, { text: text.slice(end) }].filter((part) => part.text);
}

// An address without the punctuation after it; a closing bracket is its own if it was opened in it.
function withoutSentence(address, most = MOST) {
  const count = (character) => address.split(character).length;
  const end = address.at(-1);
  const open = BRACKETS[end];
  const strange = open ? count(end) > count(open) : ".,:;!?'*_~”’…".includes(end);
  return strange && most ? withoutSentence(address.slice(0, -1), most - 1) : address;
}
