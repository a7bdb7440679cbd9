"""The web: requests in, answers out. A handler reads, calls the chat, answers."""

from __future__ import annotations

from typing import Any

from ..packaged import folder
from ..streams import RECOVERY_PATH
from .application import BaseApplication
from .assets import StaticHandler
from .base import MissingHandler
from .messages import MessagesHandler, RecoveryHandler
from .pages import RoomHandler, RootHandler
from .status import HealthHandler, MetricsHandler, ReadyHandler


class ChatApplication(BaseApplication):
    """What the handlers share, and the routes to them."""

    def routes(self) -> dict[str, Any]:
        return {
            "handlers": [
                *([(RECOVERY_PATH, RecoveryHandler, {"read": self.recovery})] if self.recovery else []),
                (r"/", RootHandler),
                (r"/healthz", HealthHandler),
                (r"/readyz", ReadyHandler),
                (r"/metrics", MetricsHandler),
                (r"/(openapi\.json)", StaticHandler, {"path": str(folder("static"))}),
                (r"/rooms/([^/]+)/messages/?", MessagesHandler),
                (r"/([^/]+)", RoomHandler),
            ],
            "default_handler_class": MissingHandler,
            "static_path": str(folder("static")),  # also serves /robots.txt and /favicon.ico
            "static_handler_class": StaticHandler,
            "log_function": lambda handler: None,  # requests are counted, not logged
        }
