"""`--log-posts`: who wrote what, for an operator who looks for a flood or an abuser. Off unless asked for.

One line for each POST that was let in, with what became of it. It is written when the store has answered, not
when the client is, so that somebody who writes and hangs up at once has a line as well. What is refused
before it reaches the store has none: it wrote nothing, and anybody could fill the log with such lines. No
line has a text or a name.
"""

from __future__ import annotations

import json
import logging

from ..messages import Draft, Message

logger = logging.getLogger(__name__)


def log_post(draft: Draft, client: str, message: Message | None) -> None:
    """`client` is an address; there is no message if the store failed, and may have it all the same."""
    id = None if message is None else message.id
    fields = {"room": draft.room, "id": id, "client": client, "user": draft.user}
    logger.info("posted %s", json.dumps(fields), extra={"fields": fields})
