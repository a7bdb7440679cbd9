// What is remembered: by this tab, through a reload, or by the browser. Another flychat of the same host, which has
// another base path, remembers for itself.

import { base } from "./paths.js";

export const tab = "sessionStorage";
export const browser = "localStorage";

// A browser that refuses to remember costs comfort, not function.
export function recall(area, name, otherwise) {
  try {
    return JSON.parse(window[area].getItem(`flychat${base}:${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(area, name, value) {
  try {
    window[area].setItem(`flychat${base}:${name}`, JSON.stringify(value));
  } catch {}
}
