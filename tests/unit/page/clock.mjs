// Time that tests move on: setTimeout, clearTimeout, performance.now and Date.now go by it, the last one off by
// what somebody has set it. Math.random is what they say.

const real = { setTimeout, clearTimeout, now: Date.now, random: Math.random };

export class Clock {
  #tasks = new Map(); // id -> [when, task]
  #last = 0;
  now = 1_700_000_000_000;
  began = this.now;
  set = 0; // ms by which the browser's clock was set
  chance = 0.5;

  constructor(test) {
    globalThis.setTimeout = (task, delay = 0) => {
      this.#tasks.set((this.#last += 1), [this.now + delay, task]);
      return this.#last;
    };
    globalThis.clearTimeout = (id) => this.#tasks.delete(id);
    Date.now = () => this.now + this.set;
    performance.now = () => this.now - this.began;
    Math.random = () => this.chance;
    test.after(() => {
      Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
      Date.now = real.now;
      delete performance.now;
      Math.random = real.random;
    });
  }

  // Runs what is due within the next `delay` ms, in its order.
  run(delay) {
    const end = this.now + delay;
    for (;;) {
      const [id, [when, task]] = [...this.#tasks].sort(([, [one]], [, [other]]) => one - other)[0] ?? [
        0,
        [Infinity],
      ];
      if (when > end) break;
      this.#tasks.delete(id);
      this.now = Math.max(this.now, when);
      task();
    }
    this.now = end;
  }
}
