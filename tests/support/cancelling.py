"""asyncio.shield as Python 3.14 has it: if its caller was cancelled and the task fails then, the loop logs that."""

from __future__ import annotations

import asyncio


def like_python_3_14(monkeypatch) -> None:
    shield = asyncio.shield

    def telling(inner):
        inner = asyncio.ensure_future(inner)
        outer = shield(inner)

        def tell(done):
            if not done.cancelled() and done.exception() is not None:
                done.get_loop().call_exception_handler({"message": "exception in shielded future"})

        outer.add_done_callback(lambda ended: ended.cancelled() and inner.add_done_callback(tell))
        return outer

    monkeypatch.setattr(asyncio, "shield", telling)
