"""`--log-posts`: who wrote what, for an operator who looks for a flood or an abuser. Off unless asked for.

One line for each POST that was let in, with what became of it: told when the store has answered, and not with
the answer, for whoever writes and hangs up at once is to have one, too. What is refused at the door has none:
it wrote nothing, and lines about it could be had by anybody, as many as they like. Never a text, nor a name.
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
