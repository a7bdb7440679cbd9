// Pauses and timers.

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
