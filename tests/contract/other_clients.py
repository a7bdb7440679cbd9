"""Two clients of PyPI, with the settings of docs/api.md:  python other_clients.py CLIENT URL...

Each URL is read by a client of its own, which tells each event that it is given on a line: {"url", "name",
"data"}. Neither comes back by itself.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator

PAUSE = 0.2  # seconds before a client comes back
SILENCE = 60.0  # a keep-alive comes every 20 s

Event = tuple[str, str, str | None]  # name, data, id
Read = Callable[[str, str], Iterator[Event]]


def httpx_sse(url: str, position: str) -> Iterator[Event]:
    import httpx
    from httpx_sse import connect_sse

    timeout = httpx.Timeout(10.0, read=SILENCE)
    try:
        with (
            httpx.Client(timeout=timeout, trust_env=False) as client,
            connect_sse(client, "GET", url, headers={"Last-Event-ID": position}) as source,
        ):
            for event in source.iter_sse():
                yield event.event, event.data, event.id
    except httpx.TransportError:
        pass  # also what is no stream


def sseclient_py(url: str, position: str) -> Iterator[Event]:
    import requests
    import sseclient

    headers = {"Accept": "text/event-stream", "Last-Event-ID": position}  # it asks for neither by itself
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(10.0, SILENCE)) as answer:
            if answer.status_code == 200:
                for event in sseclient.SSEClient(answer).events():
                    yield event.event, event.data, event.id
    except requests.RequestException:
        pass


CLIENTS: dict[str, Read] = {"httpx-sse": httpx_sse, "sseclient-py": sseclient_py}


def follow(read: Read, url: str) -> None:
    position = "0"
    while True:
        for name, data, id in read(url, position):
            position = id or position
            sys.stdout.write(json.dumps({"url": url, "name": name, "data": data}) + "\n")  # at once: threads
            sys.stdout.flush()
        time.sleep(PAUSE)


if __name__ == "__main__":
    for url in sys.argv[2:]:
        threading.Thread(target=follow, args=(CLIENTS[sys.argv[1]], url)).start()
