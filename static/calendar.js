import { zoneIsNew } from "./dates.js";
import { tellZone } from "./memory.js";
import { jumped, learn } from "./now.js";
import { ask } from "./server.js";
import { Timer } from "./timer.js";

const MINUTE = 60_000; // ms

// Dates stay right while the page is open: midnight comes, the reader travels, the clock is set, the computer sleeps.
export class Calendar {
  #timer = new Timer();

  // `said` is the server's time in the page, in ms. A page that the browser had kept has an old one.
  constructor(path, log, said) {
    Object.assign(this, { path, log });
    const [loaded] = performance.getEntriesByType("navigation");
    if (loaded?.transferSize) learn(Number(said), loaded.requestStart);
    this.look();
  }

  look() {
    this.#timer.set(() => this.look(), MINUTE);
    const isNew = zoneIsNew();
    if (isNew) tellZone();
    this.log.redate(isNew);
    const redate = () => this.log.redate();
    if (jumped()) ask(`${this.path}?limit=1`).then(redate, redate); // its answer says what time it is
  }
}
