import { element } from "./dom.js";

// A sentence about the page as a whole, with what can be done: [name, act or address].
export function notice(text, ...actions) {
  const made = element("div", { className: "notice", role: "alert" }, element("p", {}, text));
  for (const [name, act] of actions) {
    const kind = typeof act === "string" ? ["a", { href: act }] : ["button", { type: "button", onclick: act }];
    made.append(element(kind[0], { className: "primary", ...kind[1] }, name));
  }
  document.querySelector(".notice")?.remove();
  document.querySelector("#composer, .card")?.before(made);
  return made;
}
