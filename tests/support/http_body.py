"""The body of an HTTP answer, from its bytes as they come. Written from RFC 9112, section 7.1, not from flychat."""

import re

SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Body:
    """Takes the bytes after a head. `ended`: the last chunk has come (without chunks, that is never known)."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").lower().split("\r\n")
        self.chunked = "transfer-encoding: chunked" in lines
        self.ended = False
        self._pending = b""
        self._left = 0  # bytes of this chunk, with the CRLF behind it

    def take(self, data: bytes) -> bytes:
        """What the bytes add to the body. Raises ValueError where they are no chunks."""
        if not self.chunked:
            return data
        self._pending += data
        body = b""
        while self._pending and self._advance():
            if self._left > 2:
                part = self._pending[: self._left - 2]
                body += part
                self._pending = self._pending[len(part) :]
                self._left -= len(part)
        return body

    def _advance(self) -> bool:
        """Reads the line before, or the end of, a chunk; says whether to go on."""
        if self.ended:
            raise ValueError(f"after the last chunk: {self._pending[:50]!r}")
        if self._left > 2:
            return True
        if self._left == 2:
            if len(self._pending) < 2:
                return False
            if self._pending[:2] != b"\r\n":
                raise ValueError(f"not the end of a chunk: {self._pending[:50]!r}")
            self._pending, self._left = self._pending[2:], 0
            return True
        line, found, rest = self._pending.partition(b"\r\n")
        if not found and len(line) <= 10:
            return False
        if not SIZE.fullmatch(line):
            raise ValueError(f"not the size of a chunk: {line[:50]!r}")
        size = int(line, 16)
        if size == 0:  # without trailers, an empty line ends the body
            if len(rest) < 2:
                return False
            if rest[:2] != b"\r\n":
                raise ValueError(f"not the end of the last chunk: {rest[:50]!r}")
            self.ended, self._pending = True, rest[2:]
            return True
        self._pending, self._left = rest, size + 2
        return True
