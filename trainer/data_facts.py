"""What of the data decides the shape of an objective's parts: pinned with a run, so that an export can build them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class DataFacts:
    """Counts of images that the data sets store, of labels, and of tokens that the tokenizer knows, and which it is;
    mean and deviation of each number that an inverter guesses of an image; count of the classes that the generator was
    asked for."""

    stored_images: int = 0
    classes: int = 0
    vocabulary: int = 0
    tokenizer: str = ""  # its file's sha256, "bytes", or nothing where no captions are read
    target_mean: list[float] = field(default_factory=list)
    target_std: list[float] = field(default_factory=list)
    class_ids: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
