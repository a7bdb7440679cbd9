import { notice } from "./band.js";
import { isLogin } from "./stream.js";
import { shown } from "./names.js";
import { session } from "./paths.js";
import { ask } from "./server.js";

const MARK = "#invite=";
const LONGEST = 255; // characters of a name that a server would believe

// The claims of a token, as far as they can be read; whether they are true is the server's to say.
export function claimsOf(token) {
  try {
    const [, claims] = token.split(".");
    const bytes = Uint8Array.from(atob(claims.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

// An invitation is behind the # of an address, which browsers send to no server. It is taken out of the address at
// once, and becomes a session of this browser. If there is one already, the reader is asked first: anybody can send
// a link.
export class Invitation {
  // Of a page whose session is that of the user `sub`, called `user`; or that has none.
  constructor({ sub, user } = {}) {
    Object.assign(this, { sub, user });
    addEventListener("hashchange", () => this.take());
  }

  // Whether there is one: then this page is about to be another one.
  take() {
    if (!location.hash.startsWith(MARK)) return false;
    const token = location.hash.slice(MARK.length);
    history.replaceState(history.state, "", location.pathname + location.search);
    const { sub, name } = claimsOf(token);
    const other = shown(`${name ?? sub ?? "somebody else"}`.slice(0, LONGEST));
    if (!this.sub || sub === this.sub) this.#use(token);
    else
      notice(
        `This is an invitation for ${other}. You are signed in as ${this.user}.`,
        ["Use it", () => this.#use(token)],
        ["Stay", ({ target }) => target.closest(".notice").remove()],
      );
    return true;
  }

  async #use(token) {
    const again = ["Try again", () => this.#use(token)];
    let answer, said;
    try {
      [answer, said] = await ask(session, { method: "POST", body: JSON.stringify({ token }) });
    } catch {
      return notice("The invitation could not be used: the server cannot be reached.", again);
    }
    if (isLogin(answer, said)) notice("The login in front of this chat has ended.", again);
    else if (answer.ok) location.replace(location.pathname);
    else if (answer.status > 499 || answer.status === 429) notice("The server is busy.", again);
    else notice("This invitation is not valid, or no longer valid.");
  }
}
