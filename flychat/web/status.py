"""The server's own state: alive, ready, measured."""

from __future__ import annotations

import prometheus_client

from .. import errors
from .base import BaseHandler


class HealthHandler(BaseHandler):
    """The process lives."""

    def get(self) -> None:
        self.write_json({"status": "ok"})

    head = get


class ReadyHandler(BaseHandler):
    """The store answers, and the server is not shutting down."""

    async def get(self) -> None:
        if self.application.draining:
            raise errors.NotReady("not ready: the server is shutting down")
        try:
            await self.while_here(self.chat.log.check())
        except errors.Unavailable as error:
            raise errors.NotReady("not ready: the message store does not answer") from error
        secret = self.application.access.secret
        self.write_json({"status": "ok"} if secret is None else {"status": "ok", "key": secret.fingerprint})

    head = get


class MetricsHandler(BaseHandler):
    def get(self) -> None:
        self.set_header("Content-Type", prometheus_client.CONTENT_TYPE_LATEST)
        self.write(prometheus_client.generate_latest())

    head = get
