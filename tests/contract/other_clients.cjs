// Two clients of npm, with the settings of docs/api.md:  node other_clients.cjs FOLDER CLIENT URL...
//
// FOLDER has their node_modules. Each URL is read by a client of its own, which tells each event that it is given on
// a line: {"url", "name", "data"}.
const { createRequire } = require("node:module");
const [folder, client, ...urls] = process.argv.slice(2);
const load = createRequire(folder + "/");

const NAMES = ["stream-open", "message", "retraction", "stream-reset", "keep-alive"];
const tell = (url, name, data) => process.stdout.write(JSON.stringify({ url, name, data }) + "\n");

const CLIENTS = {
  // As in a browser: it comes back by itself, with its position, but after an answer other than 200 it is CLOSED.
  eventsource(url) {
    const { EventSource } = load("eventsource");
    let position = "0";
    const open = () => {
      const source = new EventSource(`${url}&lastEventId=${position}`);
      for (const name of NAMES)
        source.addEventListener(name, ({ data, lastEventId }) => {
          if (lastEventId) position = lastEventId;
          tell(url, name, data);
        });
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) setTimeout(open, 1000);
      };
    };
    open();
  },

  "fetch-event-source": (url) => fetchEvents(`${url}&lastEventId=0`, (event, data) => tell(url, event, data)),

  // Its own position moves with an `id:` line, though the event may never come that the next byte would end.
  "fetch-event-source, careful"(url) {
    let position = "0";
    const take = (event, data, id) => {
      if (id) position = id;
      tell(url, event, data);
    };
    const headers = (given) => ({ ...given, "last-event-id": position });
    fetchEvents(url, take, (input, init) => fetch(input, { ...init, headers: headers(init.headers) }));
  },
};

function fetchEvents(url, take, fetch) {
  globalThis.window = globalThis; // it is for browsers
  const { fetchEventSource } = load("@microsoft/fetch-event-source");
  fetchEventSource(url, {
    fetch,
    openWhenHidden: true, // or else it leaves when the tab is out of sight
    onmessage: ({ event, data, id }) => take(event, data, id),
    onclose() {
      throw new Error("it has ended"); // or else it does not come back
    },
  });
}

for (const url of urls) CLIENTS[client](url);
