// What is remembered: by this tab, through a reload, or by the browser. Another flychat of the same host, which has
// another base path, remembers for itself.

import { base } from "./paths.js";

export const tab = "sessionStorage";
export const browser = "localStorage";

// What was left there by another version counts as nothing where it is of another kind than `otherwise`; a list
// is one of strings. A browser that refuses to remember costs comfort, not function.
export function recall(area, name, otherwise) {
  let value;
  try {
    value = JSON.parse(window[area].getItem(`flychat${base}:${name}`));
  } catch {}
  const isList = Array.isArray(otherwise);
  if (Array.isArray(value) !== isList || typeof value !== typeof otherwise) return otherwise;
  return isList ? value.filter((each) => typeof each === "string") : value;
}

export function remember(area, name, value) {
  try {
    window[area].setItem(`flychat${base}:${name}`, JSON.stringify(value));
  } catch {}
}

// Whether the server may leave a cookie here: its own cannot be read.
export function takesCookies() {
  try {
    document.cookie = "flychat_taken=1; SameSite=Lax; Max-Age=60";
    return document.cookie.includes("flychat_taken=1");
  } catch {
    return false;
  }
}

// The reader's time zone, in minutes: so the server names the days in a page as the page would.
export function tellZone() {
  const zone = -new Date().getTimezoneOffset();
  try {
    document.cookie = `flychat_zone=${zone}; Path=${base}/; Max-Age=31536000; SameSite=Lax`;
  } catch {}
}

// What shows the server that a name was asked for here, and is not that of a link.
export function askedBefore() {
  try {
    return document.cookie.match(/(?:^|; )flychat_asked=([^;]*)/)?.[1] ?? "";
  } catch {
    return "";
  }
}
