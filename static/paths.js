// Where things are on the server. All addresses begin with its base path, "" or such as /chat: this module's own
// address has it in front of /static/VERSION/.

export const base = new URL(import.meta.url).pathname.match(/^(.*)\/static\/[^/]+\/[^/]+$/)?.[1] ?? "";

export const roomPath = (room) => `${base}/${encodeURIComponent(room)}`;
export const session = `${base}/session`;
