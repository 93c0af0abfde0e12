"""Where alerts go. Publishers share one small interface; this one writes files."""

from abc import ABC, abstractmethod
from pathlib import Path

from alertprod.core.files import write_bytes


class Publisher(ABC):
    """Takes the Avro container of one detector-visit."""

    @abstractmethod
    def publish(self, visit: int, detector: int, container: bytes) -> str:
        """Hand over the alerts of a detector-visit; return where they went.

        Must be idempotent: the same container may come again after an interruption.
        """


class FilePublisher(Publisher):
    """Writes ``{detector}.avro`` into the alert directory of a visit; whole or not at all."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def publish(self, visit: int, detector: int, container: bytes) -> str:
        """Write the container of a detector."""
        path = self.directory / f"{detector:03d}.avro"
        write_bytes(path, container)
        return str(path)
