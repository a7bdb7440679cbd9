"""`--log-posts`: who wrote what, for an operator who looks for a flood or an abuser. Off unless asked for.

One line for each POST that reached the store, with its outcome. It is written when the store has answered,
not when the client has its answer, so that a client that hangs up at once has a line as well. A POST that is
refused before has none: it wrote nothing, and anybody could fill the log with such lines. No line has a text
or a name.
"""

from __future__ import annotations

import json
import logging

from ..messages import Draft, Message

logger = logging.getLogger(__name__)


def log_post(draft: Draft, client: str, message: Message | None) -> None:
    """`client` is an address. `message` is None if the store failed; it may have the message all the same."""
    id = None if message is None else message.id
    fields = {"room": draft.room, "id": id, "client": client, "user": draft.user}
    logger.info("posted %s", json.dumps(fields), extra={"fields": fields})
