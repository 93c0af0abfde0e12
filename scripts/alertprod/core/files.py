"""Writing without half-written files, and digests of content."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there replaces `path` at the end.

    The name is unique, because an orphan of a killed run may still be writing the same product.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_orphans(path: str | os.PathLike, before: float) -> None:
    """Remove what a killed run left of a product under temporary names.

    Parameters
    ----------
    path : path
        The product.
    before : float
        POSIX time; what was written later may belong to a job that is still at work.
    """
    target = Path(path)
    for orphan in target.parent.glob(f".{target.name}.*.tmp"):
        try:
            if orphan.stat().st_mtime < before:
                orphan.unlink()
        except FileNotFoundError:
            pass  # its writer came to an end


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a small file in one piece."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def digest(*parts: bytes | str) -> str:
    """Return 16 hexadecimal digits that stand for the content of the parts, in order."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:16]


def file_digest(path: str | os.PathLike) -> str:
    """Return 16 hexadecimal digits that stand for the content of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]
