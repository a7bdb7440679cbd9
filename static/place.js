// Where the reader is in the log: at the bottom, or at the first row in sight, and how much of it is above. So the
// place survives what changes the heights of rows: another width, another size of the text. A keyboard takes from
// the lower end.
export class Place {
  stuck = true; // the reader is at the bottom
  #top = 0; // the scroller's, when last measured
  #row = null;
  #above = 0; // of the row, as a part of its height
  #width = 0;

  // A phone that is turned, its keyboard, or a text that grows, must not take the reader away.
  constructor(log, list) {
    Object.assign(this, { log, scroller: log.scroller, list });
    const sizes = new ResizeObserver(() => (this.stuck ? this.toBottom() : this.#restore()));
    for (const box of [this.scroller, list]) sizes.observe(box);
  }

  // More than a screen from the bottom.
  get isFar() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight > clientHeight;
  }

  // A reader at the bottom leaves it only by scrolling up, not because the box becomes smaller (whose observer is
  // called after the scroll events).
  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const stays = this.stuck && scrollTop >= this.#top;
    this.#top = scrollTop;
    this.#mark();
    return (this.stuck = this.log.live && (stays || scrollHeight - scrollTop - clientHeight < 40));
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#top = this.scroller.scrollTop;
    this.#width = this.scroller.clientWidth;
    this.stuck = this.log.live;
  }

  // What is read stays in place: the bottom of the log, or else the lower end of the first row in sight
  // (whose upper end may lose the heading to a new row above).
  keep(mutate) {
    this.look();
    const { top } = this.scroller.getBoundingClientRect();
    const place = (item) => item.getBoundingClientRect().bottom;
    const reading = this.stuck ? [] : [...this.list.children].filter((item) => place(item) > top);
    const places = reading.map(place);
    mutate();
    const kept = reading.findIndex((item) => item.isConnected);
    if (this.stuck) this.toBottom();
    else if (kept >= 0) this.scroller.scrollTop += place(reading[kept]) - places[kept];
  }

  // Not while the width is new: then the rows are not yet where the reader has left them.
  #mark() {
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

  #restore() {
    this.#width = this.scroller.clientWidth;
    if (!this.#row?.isConnected) return;
    const box = this.#row.getBoundingClientRect();
    const moved = box.top + this.#above * box.height - this.scroller.getBoundingClientRect().top;
    if (Math.abs(moved) >= 1) this.scroller.scrollTop += moved;
  }
}
