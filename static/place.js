// Where the reader is in the log: the first row in sight, and how much of it is above. So the place survives what
// changes the heights of rows: another width, another size of the text. A keyboard takes from the lower end.
export class Place {
  #row = null;
  #above = 0; // of the row, as a part of its height
  #width = 0;

  // A phone that is turned, its keyboard, or a text that grows, must not take the reader away.
  constructor(log, list) {
    Object.assign(this, { scroller: log.scroller, list });
    const sizes = new ResizeObserver(() => (log.stuck ? log.toBottom() : this.restore()));
    for (const box of [this.scroller, list]) sizes.observe(box);
  }

  // Not while the width is new: then the rows are not yet where the reader has left them.
  mark() {
    const { clientWidth } = this.scroller;
    if (this.#row?.isConnected && clientWidth !== this.#width) return;
    this.#width = clientWidth;
    const { top } = this.scroller.getBoundingClientRect();
    const rows = this.list.children;
    let [from, to] = [0, rows.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (rows[middle].getBoundingClientRect().bottom > top) to = middle;
      else from = middle + 1;
    }
    this.#row = rows[from];
    if (!this.#row) return;
    const box = this.#row.getBoundingClientRect();
    this.#above = (top - box.top) / box.height;
  }

  restore() {
    this.#width = this.scroller.clientWidth;
    if (!this.#row?.isConnected) return;
    const box = this.#row.getBoundingClientRect();
    const moved = box.top + this.#above * box.height - this.scroller.getBoundingClientRect().top;
    if (Math.abs(moved) >= 1) this.scroller.scrollTop += moved;
  }
}
