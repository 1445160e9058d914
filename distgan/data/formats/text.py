"""Text of any encoding as UTF-8 lines: found out, or refused with the setting that says it."""

import codecs
import io
import re
from pathlib import Path

from distgan import config
from distgan.errors import UserError, writing

HEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20
AS_TEXT = re.compile(  # ="00541", or "=""00541""": cells that a spreadsheet is to keep as text
    r"(?P<before>(?:^|[,;\t|])[ \t]*)"
    r'(?:="(?P<bare>[^"\n]*)"|"=""(?P<quoted>[^"\n]*)""")'
    r"(?=[ \t]*(?:[,;\t|\r\n]|$))",
    re.M,
)
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def open_as_utf8(path: Path, settings: config.Data, folder: Path) -> tuple[Path, str]:
    """Return a UTF-8 file with lines that end with a line feed, and the encoding of the original.

    That is the original where it is so already; otherwise a copy in `folder`, written a block at a time, in
    which cells such as ="00541" have quotes alone.

    Raises:
        UserError: the file is not of the encoding, or of one that must be named.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    encoding = settings.encoding
    if encoding == "auto":
        encoding = _detect_encoding(head, path)
    plain = codecs.lookup(encoding).name in ("utf-8", "ascii", "utf-8-sig")
    old_lines = b"\r" in head and b"\n" not in head
    as_text = AS_TEXT.search(head.decode(encoding, errors="ignore")) is not None
    if plain and not old_lines and not as_text:
        return path, "utf-8"
    copy = folder / f"{path.name}.utf-8"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _transcode(path, copy, encoding, as_text)
    return copy, "utf-8" if plain else encoding


def _detect_encoding(head: bytes, path: Path) -> str:
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark) and not (name == "utf-16" and head.startswith(codecs.BOM_UTF32_LE)):
            return name
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > len(head) / 8 and min(even, odd) < max(even, odd) / 8:
            likely = "utf-16-le" if odd > even else "utf-16-be"
            raise UserError(f"{path} is not UTF-8 text; it looks like UTF-16: set data.encoding={likely}")
        raise UserError(f"{path} is not text: it holds zero bytes; if it is text, set data.encoding")
    return "utf-8"


def _transcode(path: Path, copy: Path, encoding: str, as_text: bool) -> None:
    """Write a copy; `as_text`: without the equals signs before quoted cells."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    done, rest = 0, ""
    with open(path, "rb") as source, open(copy, "w", encoding="utf-8", newline="") as target:
        while True:
            block = source.read(BLOCK_BYTES)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                start = done + getattr(error, "start", 0)
                raise UserError(
                    f"{path} is not {encoding} text (near byte {start}); set data.encoding to what it is"
                ) from None
            text = text.removeprefix("\ufeff") if done == 0 else text
            if as_text:  # whole lines, so that no cell is cut
                end = len(rest) + text.rfind("\n") + 1 if block and "\n" in text else 0
                text = rest + text
                end = end if block else len(text)
                text, rest = AS_TEXT.sub(_keep_quotes, text[:end]), text[end:]
            target.write(text)
            done += len(block)
            if not block:
                return


def _keep_quotes(cell: re.Match[str]) -> str:
    return f'{cell["before"]}"{cell["bare"] if cell["bare"] is not None else cell["quoted"]}"'


def refuse_not_utf8(path: Path, place: int) -> UserError:
    """Return the error for a byte that is not UTF-8."""
    return UserError(
        f"{path} is not UTF-8 text (byte {place}); save it as UTF-8, or set data.encoding, e.g. "
        "cp1252 or latin-1"
    )
