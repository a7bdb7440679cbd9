// Time that goes by.

const FIRST_DELAY = 2_000; // ms until what failed is tried again, at most; doubled by each failure
const LAST_DELAY = 30_000; // ms, to which it is doubled

export const backOff = (failures) =>
  Math.min(FIRST_DELAY * 2 ** failures, LAST_DELAY) * (0.25 + 0.75 * Math.random());

export const pause = (delay) => new Promise((resolve) => setTimeout(resolve, delay));

// One task at a time: a new one takes the place of the one before.
export class Timer {
  set(task, delay) {
    this.stop();
    this.id = setTimeout(task, delay);
  }
  stop() {
    clearTimeout(this.id);
    this.id = null;
  }
}
