// The script of every page: the join form, the menu, the names and rooms that were used before; and the room.

import { byId, element, paint } from "./dom.js";
import { browser, recall, remember, tab } from "./memory.js";
import { Room } from "./room.js";

const RECENT = 6; // rooms

// The address is to be shared, without the name; a tab keeps its name, although the cookie is common.
function keepsName({ user }) {
  const path = location.pathname;
  const named = new URLSearchParams(location.search).has("user");
  const before = recall(tab, "user", user);
  remember(tab, "user", user);
  if (named) history.replaceState(null, "", path);
  else if (before !== user) location.replace(`${path}?user=${encodeURIComponent(before)}`);
  return named || before === user;
}

function offerRooms(current) {
  const rooms = recall(browser, "rooms", []).filter((room) => room !== current);
  if (current) remember(browser, "rooms", [current, ...rooms].slice(0, RECENT));
  const links = rooms.map((room) =>
    element("a", { href: `/${encodeURIComponent(room)}` }, element("bdi", {}, room)),
  );
  const list = document.querySelector(".recent");
  list.append(...links);
  list.hidden = !rooms.length;
}

function furnishMenu(user) {
  const menu = document.querySelector(".menu");
  for (const part of menu.querySelectorAll(".face, .me")) paint(part, user);
  for (const name of ["click", "focusin"])
    addEventListener(name, ({ target }) => (menu.open &&= menu.contains(target)));
  addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function furnishLink(button) {
  button.hidden = !navigator.clipboard; // only on https and localhost
  button.onclick = async () => {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  };
}

document.documentElement.classList.add("js");
const room = byId("room")?.dataset;
offerRooms(room?.room);
if (byId("name")) byId("name").value ||= recall(tab, "user", "");
if (room && keepsName(room)) {
  furnishMenu(room.user);
  furnishLink(byId("share"));
  new Room(room);
}
