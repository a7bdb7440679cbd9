import { element } from "./dom.js";

// The text in parts, of which the http(s) links, and nothing else, can be clicked.
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[\p{L}\p{N}[][^\s<>"\p{C}]*/giu)) {
    const href = withoutSentence(match[0]);
    const link = element("a", { href, rel: "noopener nofollow ugc", target: "_blank" }, href);
    parts.push(text.slice(end, match.index), link);
    end = match.index + href.length;
  }
  return [...parts, text.slice(end)];
}

// An address without the punctuation after it; a closing bracket is its own if it was opened in it.
function withoutSentence(address, most = 20) {
  const count = (character) => address.split(character).length;
  const end = address.at(-1);
  const open = { ")": "(", "]": "[", "}": "{" }[end];
  const strange = open ? count(end) > count(open) : ".,:;!?'*_~”’…".includes(end);
  return strange && most ? withoutSentence(address.slice(0, -1), most - 1) : address;
}
