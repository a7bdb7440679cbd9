// The paths on the server. All begin with its base path, "" or such as /chat, which is what this module's own address
// has in front of /static/VERSION/.

export const base = new URL(import.meta.url).pathname.match(/^(.*)\/static\/[^/]+\/[^/]+$/)?.[1] ?? "";

export const roomPath = (room) => `${base}/${encodeURIComponent(room)}`;
export const session = `${base}/session`;
