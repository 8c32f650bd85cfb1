"""Text files that people bring along: of several encodings, which the beginning of the file tells or its bytes do."""

from __future__ import annotations

import codecs
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, ""), (codecs.BOM_UTF32_BE, ""), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


class TextFileError(ValueError):
    """A file that is no text; the text says what to do."""


def decode(data: bytes) -> str:
    """The text: by its byte order mark, else UTF-8, else Windows-1252, as old programs write. Raises TextFileError."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            if not encoding:
                break
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError:
                raise TextFileError(f"the file begins as {encoding.upper()} and is not; save it as UTF-8") from None
    if b"\0" in data:
        raise TextFileError("the file is no text; save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        raise TextFileError("the file is neither UTF-8 nor Windows-1252; save it as UTF-8") from None
