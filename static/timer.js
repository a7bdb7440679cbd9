export const pause = (delay) => new Promise((resolve) => setTimeout(resolve, delay));

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
