const TIMEOUT = 20_000;
export const PATIENCE = 60; // seconds, that a message is told to wait at most
export const TRIES = 8;

export async function ask(path, options) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const answer = await fetch(path, { headers, signal: AbortSignal.timeout(TIMEOUT), ...options });
  return [answer, (await answer.json().catch(() => null)) ?? {}];
}

export function secondsToWait({ headers }) {
  const after = headers.get("Retry-After") ?? 2;
  const seconds = isNaN(after) ? (Date.parse(after) - Date.now()) / 1_000 : after;
  return Math.max(1, Math.ceil(seconds)) || 2;
}
