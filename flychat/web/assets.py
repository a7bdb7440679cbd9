"""The files of static/, from memory: read, hashed and compressed once, when the application is made.

All share one version, the hash of all of them. It is a folder of the address, /static/VERSION/NAME, because
the scripts are modules that import each other by relative names. Under the current version an answer never
changes, so browsers keep it without asking again.

A first load of the page may transfer 60 kB at most. So files are served without their comments (a quarter of
the compressed scripts), indentation, empty lines, and other white space that only readers of styles need (260
bytes); and answers without headers that a file does not need, as a page loads some forty files.

While a release is rolled out, the page of one server may load modules from another: a request for any other
version, or none, is answered with the current file, and `no-cache`. So modules of two releases may meet: a
module's interface is only added to, and what nobody needs any more goes one release later.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from tornado.web import HTTPError

from .base import BaseHandler
from .negotiation import takes_gzip
from .paths import Paths

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
COMPRESSED = {".css", ".js", ".svg", ".webmanifest"}  # what a page loads, and gzip makes smaller
# A comment behind code is known by the spaces around its `//`. A string or a pattern with these would be cut,
# too: the scripts must have none (tests would notice, since they would no longer parse).
NEEDLESS = {
    ".js": re.compile(rb"(?m)^[ \t]*(//.*)?\n|^[ \t]+|[ \t]+// .*$"),
    ".css": re.compile(rb"(?ms)[ \t]*/\*.*?\*/\n?|^[ \t]+|(?<=[{}:;,])\s+|\s+(?=[{}])"),
}
LATER = {"company.js", "notify.js", "signals.js", "flychat.js"}  # the last one is for other pages
DESCRIPTION = "openapi.json"  # which has to say the base path
VERSION_DIGITS = 8  # of 64: the addresses are a part of every page
FOR_EVER = "public, max-age=31536000, immutable"  # a year, which is the longest
# Pages of any origin may import the first, which imports the others.
SHARED = {"flychat.js", "conversation.js", "stream.js"}
OF_PAGES = ("Referrer-Policy", "Server")  # headers that only pages need


@dataclass(frozen=True)
class Asset:
    type: str
    plain: bytes
    compressed: bytes | None
    digest: str

    @classmethod
    def read(cls, path: Path, base_path: str = "") -> Asset:
        data = path.read_bytes()
        if path.name == DESCRIPTION and base_path:
            served = json.loads(data) | {"servers": [{"url": base_path}]}
            data = (json.dumps(served, indent=2, ensure_ascii=False) + "\n").encode()
        if path.suffix in NEEDLESS:
            data = NEEDLESS[path.suffix].sub(b"", data)
        compressed = gzip.compress(data, 9, mtime=0) if path.suffix in COMPRESSED else None
        return cls(TYPES[path.suffix], data, compressed, hashlib.sha256(data).hexdigest()[:VERSION_DIGITS])


class Assets:
    """The files of a folder that have a known type, by their names; of a server that begins at `paths`."""

    def __init__(self, folder: Path, paths: Paths) -> None:
        self._paths = paths
        self._assets = {
            path.name: Asset.read(path, paths.base)
            for path in sorted(folder.iterdir())
            if path.suffix in TYPES
        }
        of_all = "".join(f"{name} {asset.digest} " for name, asset in self._assets.items())
        self.version = hashlib.sha256(of_all.encode()).hexdigest()[:VERSION_DIGITS]

    @property
    def modules(self) -> list[str]:
        """The scripts that a page of a room needs at once."""
        return [name for name in self._assets if name.endswith(".js") and name not in LATER]

    def url(self, name: str) -> str:
        assert name in self._assets, name
        return self._paths.static(self.version, name)

    def find(self, version: str, name: str) -> Asset | None:
        return self._assets.get(name) if "/" not in version else None


class AssetHandler(BaseHandler):
    def initialize(self, assets: Assets) -> None:
        self._assets = assets

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for header in OF_PAGES:
            self.clear_header(header)

    def get(self, path: str) -> None:
        version, _, name = path.rpartition("/")
        asset = self._assets.find(version, name)
        if asset is None:
            raise HTTPError(404)
        self.set_header("Cache-Control", FOR_EVER if version == self._assets.version else "no-cache")
        self.set_header("Content-Type", asset.type)
        if name in SHARED:  # browsers load a module with CORS, even without cookies
            self.set_header("Access-Control-Allow-Origin", "*")
            self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        body, etag = asset.plain, asset.digest
        if asset.compressed is not None:
            self.set_header("Vary", "Accept-Encoding")
            if takes_gzip(self.request.headers.get("Accept-Encoding", "")):
                self.set_header("Content-Encoding", "gzip")
                body, etag = asset.compressed, f"{etag}-gzip"
        self.set_header("Etag", f'"{etag}"')
        if self.check_etag_header():
            self.set_status(304)
        else:
            self.write(body)

    head = get
