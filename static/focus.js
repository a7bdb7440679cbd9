// The focus never falls to the body: when the element that has it is removed, hidden or disabled, the log takes it; on
// a page without a log the first field or link. Not the field for messages: on a phone that would open the keyboard.

const GONE = "[hidden], :disabled";

export function keepsFocus() {
  let last = null;
  addEventListener("focusin", ({ target }) => (last = target));
  const isThere = () => last.isConnected && !last.closest(GONE);
  // It may say so before it goes: who leaves what stays is the reader.
  addEventListener("focusout", () => queueMicrotask(() => last && isThere() && (last = document.activeElement)));
  new MutationObserver(() => {
    const { activeElement: now, body } = document;
    if (!last || (now !== last && now !== body) || isThere()) return;
    last = null;
    const next = document.getElementById("log") ?? document.querySelector("main :is(input, button, a)");
    next?.focus({ preventScroll: true });
  }).observe(document.body, { subtree: true, childList: true, attributeFilter: ["hidden", "disabled"] });
}
