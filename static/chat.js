// The script of every page: the join form, the menu, the names and rooms that were used before; and the room.

import { Composer } from "./composer.js";
import { byId, element } from "./dom.js";
import { keepsFocus } from "./focus.js";
import { Invitation } from "./invite.js";
import { askedBefore, browser, recall, remember, tab, takesCookies, tellZone } from "./memory.js";
import { shown } from "./names.js";
import { roomPath } from "./paths.js";
import { Room } from "./room.js";

const RECENT = 6; // rooms

// The address is to be shared, without the name, which it keeps only where no cookie can. A tab keeps its name,
// although the cookie is common. But a name that is in a token is that of the session: of all tabs, and no longer.
function keepsName({ user, named: given }) {
  const query = new URLSearchParams(location.search);
  const asked = query.has("user");
  const named = asked || given !== undefined;
  const before = recall(tab, "user", user) || user;
  if (given === undefined) remember(tab, "user", user);
  remember(tab, "shown", user);
  addEventListener("pageshow", () => recall(tab, "shown", user) !== user && location.reload()); // it was kept since
  const address = () => location.pathname + `?${query}`.replace(/^\?$/, "") + location.hash;
  if (asked && takesCookies()) {
    for (const field of ["user", "asked"]) query.delete(field);
    history.replaceState(null, "", address());
  } else if (!named && before !== user) {
    query.set("user", before);
    query.set("asked", askedBefore());
    location.replace(address());
    keepsDraft();
  }
  return named || before === user;
}

// What is written before the tab's own page is there is kept for it, and not sent from this one.
function keepsDraft() {
  const field = byId("text");
  new Composer(field.form.getAttribute("action"), (text) => {
    field.value = text;
    field.oninput();
  });
}

// The join form. It may be shown again by going back, when there is a name already; it asks before it gives another
// name to somebody who has one, but not the tab that has that name; and it keeps the part of the address behind #.
function furnishForm({ given }) {
  const form = byId("name").form;
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted && performance.getEntriesByType("navigation")[0]?.type !== "back_forward") return;
    if (location.search) location.replace(location.pathname + location.hash);
    else if (persisted) location.reload();
  });
  form.addEventListener("submit", () => (form.action = form.action.replace(/#.*|$/, location.hash)));
  const mine = recall(tab, "user", ""); // another tab of the browser may have another name
  for (const known of document.querySelectorAll(".known")) known.textContent = shown(mine || known.textContent);
  if (given && mine === given) form.requestSubmit();
}

function offerRooms(current) {
  const rooms = recall(browser, "rooms", []).filter((room) => room !== current);
  if (current) remember(browser, "rooms", [current, ...rooms].slice(0, RECENT));
  const links = rooms.map((room) =>
    element("a", { href: roomPath(room) }, element("bdi", {}, room)),
  );
  const list = document.querySelector(".recent");
  list.append(...links);
  list.hidden = !rooms.length;
}

function furnishMenu() {
  const menu = document.querySelector(".menu");
  for (const name of ["click", "focusin"])
    addEventListener(name, ({ target }) => (menu.open &&= menu.contains(target)));
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function furnishLink(button) {
  const shares = navigator.share && matchMedia("(pointer: coarse)").matches;
  button.hidden = !shares && !navigator.clipboard; // only on https and localhost
  if (shares) button.textContent = "Share link";
  button.onclick = async () => {
    const url = location.origin + location.pathname;
    if (shares) return navigator.share({ url }).catch(() => {}); // it may be thought better of
    const copied = navigator.clipboard.writeText(url);
    button.textContent = await copied.then(() => "Copied", () => "Not allowed here: copy the address of the page");
  };
}

document.documentElement.classList.add("js");
tellZone();
keepsFocus();
const room = byId("room")?.dataset;
new Invitation(document.querySelector("main").dataset).take();
if (document.querySelector(".recent")) offerRooms(room?.room);
if (byId("name")) {
  byId("name").value ||= recall(tab, "user", "");
  furnishForm(document.querySelector("main").dataset);
}
if (room && keepsName(room)) {
  furnishMenu();
  for (const button of document.querySelectorAll(".link")) furnishLink(button);
  new Room(room);
}
