"""The files of static/, with addresses that change when they do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tornado.web import HTTPError, StaticFileHandler

from .base import BaseHandler


class StaticHandler(BaseHandler, StaticFileHandler):
    compute_etag = StaticFileHandler.compute_etag

    def parse_url_path(self, url_path: str) -> str:
        if "\0" in url_path:  # no file can have this name, and to look for one is an error
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    @classmethod
    def get_version(cls, settings: dict[str, Any], path: str) -> str | None:
        """16 of Tornado's 128 hex digits: the addresses are a part of every page."""
        version = super().get_version(settings, path)
        return version and version[:16]

    def get_cache_time(self, path: str, modified: datetime | None, mime_type: str) -> int:
        """None for an address of another version, as it is asked for while a new one is rolled out."""
        current = self.get_query_argument("v", "") == self.get_version(self.settings, path)
        return super().get_cache_time(path, modified, mime_type) if current else 0

    def set_extra_headers(self, path: str) -> None:
        if "Cache-Control" not in self._headers:
            self.set_header("Cache-Control", "no-cache")
