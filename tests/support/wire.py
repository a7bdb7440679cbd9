"""What a message is on the wire, field by field; flychat.messages writes the text of it at once."""

from __future__ import annotations

from typing import Any

from flychat.messages import Draft, Message


def wire_json(message: Draft | Message) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "from": message.sender,
        "text": message.text,
        "date": message.date,
        "provisionalId": message.provisional_id,
    }
    if message.user is not None:
        fields["user"] = message.user
    if message.removes:
        fields["removes"] = list(message.removes)
    if isinstance(message, Message) and message.removed is not None:
        fields["removed"] = message.removed
    if message.data is not None:
        fields["data"] = message.data
    return {"id": message.id, **fields} if isinstance(message, Message) else fields
