// Long texts are folded (chat.css). The button behind one shows all of it, and folds it again, without moving the rows
// above.

export function unfolds(log) {
  log.scroller.addEventListener("click", ({ target: button }) => {
    if (!button.matches?.(".unfold")) return;
    const whole = button.parentElement.querySelector("p").classList.toggle("whole");
    button.ariaExpanded = `${whole}`;
    button.textContent = whole ? "Show less" : "Show all";
    if (!whole) button.parentElement.scrollIntoView({ block: "nearest" });
    log.look(); // the end of the log may be further down now
  });
}
