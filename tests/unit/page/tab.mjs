// A tab of a room, on whose channel the test plays the others.

import { Tabs } from "../../../static/tabs.js";
import { Clock } from "./clock.mjs";
import { Source } from "./source.mjs";

export const settled = () => new Promise((done) => setImmediate(done));

// As many turns as a request and what follows from its answer take.
export const rested = async () => {
  for (let turn = 0; turn < 20; turn += 1) await settled();
};

// The channels of a tab: those of its room's other tabs are the test's.
export class Channel {
  static all = [];
  constructor(name) {
    Object.assign(this, { name, posted: [] });
    Channel.all.push(this);
  }
  postMessage(data) {
    if (!this.closed) this.posted.push(structuredClone(data));
  }
  close() {
    this.closed = true;
  }
}

// A tab that is about to start, in sight; `lead()` gives it the lock.
export async function opened(t, options) {
  Channel.all = [];
  Source.all = [];
  const page = Object.assign(new EventTarget(), { hidden: false });
  const locks = { asked: [], request: (name, how, led) => new Promise((_, reject) => locks.asked.push({ how, led, reject })) };
  const before = { document: globalThis.document, BroadcastChannel: globalThis.BroadcastChannel };
  Object.assign(globalThis, { document: page, BroadcastChannel: Channel, EventSource: Source });
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => Object.assign(globalThis, before));
  const clock = new Clock(t);
  const news = [];
  const place = { last: 7 };
  const tabs = new Tabs("/rooms/tea/messages/", () => place.last, (each) => news.push(each), options);
  tabs.start();
  const channel = Channel.all.find(({ name }) => name.startsWith("flychat:"));
  const hear = (data) => channel.onmessage({ data });
  const hide = (hidden) => {
    page.hidden = hidden;
    if (hidden) tabs.rest();
    else tabs.hello("wake");
  };
  const lead = () => locks.asked.at(-1).led();
  const said = () => channel.posted.splice(0).map(({ kind }) => kind);
  // What the stream finds out when its right has ended.
  const end = (reason) => tabs.stream.tell({ kind: "ended", reason });
  return { clock, page, tabs, channel, news, hear, hide, lead, said, locks, place, end };
}

// Five windows of other rooms, in sight (places.js): they came before this one, and say so whenever it asks.
export function crowd() {
  const places = Channel.all.find(({ name }) => name === "flychat:places");
  const say = (id) => places.onmessage({ data: { kind: "here", id, hidden: false, since: 0 } });
  places.postMessage = ({ asks }) => asks && ["1", "2", "3", "4", "5"].forEach(say);
  places.postMessage({ asks: true });
}

// What has become of a promise by now: its value, or "open".
export async function become(promise) {
  let value = "open";
  promise.then((given) => (value = given));
  await settled();
  return value;
}
