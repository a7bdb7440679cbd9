"""The web: requests in, answers out. A handler reads, calls the chat, answers."""

from __future__ import annotations

import re
from typing import Any

from ..packaged import folder
from ..streams import OFFICIAL_PATH, RECOVERY_PATH
from .application import BaseApplication
from .assets import AssetHandler, Assets
from .base import MissingHandler
from .messages import MessagesHandler, RecoveryHandler
from .operators import ClearingsHandler, ErasuresHandler, RevocationsHandler, RoomsHandler
from .pages import RoomHandler, RoomWithSlashHandler, RootHandler
from .removals import MessageHandler
from .session import SessionHandler
from .signals import SignalsHandler
from .status import HealthHandler, MetricsHandler, ReadyHandler

TOKEN_ROUTES: list[Any] = [
    (r"/(session)", SessionHandler),
    (r"/revocations/", RevocationsHandler),
    (r"/clearings/", ClearingsHandler),
    (r"/erasures/", ErasuresHandler),
    (r"/rooms/", RoomsHandler),
]


class ChatApplication(BaseApplication):
    """What the handlers share, and the routes to them."""

    def routes(self) -> dict[str, Any]:
        assets = Assets(folder("static"), self.paths)
        self.templates.globals |= {"static_url": assets.url, "modules": assets.modules}
        self.templates.globals["signals"] = self.signals is not None
        recoveries = [
            (path, RecoveryHandler, {"read": self.recovery, "provisional": path == RECOVERY_PATH})
            for path in (RECOVERY_PATH, OFFICIAL_PATH)
        ]
        routes = [
            *(recoveries if self.recovery else []),
            (r"/", RootHandler),
            (r"/healthz", HealthHandler),
            (r"/readyz", ReadyHandler),
            (r"/metrics", MetricsHandler),
            (r"/(favicon\.ico|openapi\.json|robots\.txt)", AssetHandler, {"assets": assets}),
            (r"/static/(.*)", AssetHandler, {"assets": assets}),
            (r"/rooms/([^/]+)/messages/?", MessagesHandler),
            (r"/rooms/([^/]+)/messages/([^/]+)", MessageHandler),
            *([] if self.signals is None else [(r"/rooms/([^/]+)/signals/?", SignalsHandler)]),
            *(TOKEN_ROUTES if self.access.tokens is not None else []),
            (r"/([^/]+)", RoomHandler),
            (rf"/(?!{RECOVERY_PATH[1:]})([^/]+)/", RoomWithSlashHandler),
        ]
        base = re.escape(self.paths.base)
        begin = [(base, RootHandler)] if base else []
        return {
            "handlers": begin + [(base + path, *rest) for path, *rest in routes],
            "default_handler_class": MissingHandler,
            "log_function": lambda handler: None,  # requests are counted, not logged
        }
