// What time it is for the server: the clock of this computer may be hours wrong, or be set while the page is open.
//
// It is performance.now() plus a constant. An answer with a date, asked for at `sent` and received at `came`, shows
// between which two values the constant is; it is changed no more than needed. The page's first HTML has a date, too.

const EXACT = 1_000; // ms: a `Date` header has whole seconds
const JUMP = 5_000; // ms between the two clocks of this computer

const difference = () => Date.now() - performance.now();
let ahead = difference();
let before = ahead;

export const now = () => performance.now() + ahead;

export function learn(date, sent, came = performance.now()) {
  if (!isNaN(date)) ahead = Math.min(Math.max(ahead, date - came), date + EXACT - sent);
}

// Whether the clock was set since the last call; or the computer has slept: then performance.now() may be late.
export function jumped() {
  const last = before;
  before = difference();
  return Math.abs(before - last) > JUMP;
}
