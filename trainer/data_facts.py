"""What of the data decides the shape of an objective's parts: pinned with a run, so that an export can build them."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class DataFacts:
    """Counts of images that the data sets store, of labels, and of tokens that the tokenizer knows; of the numbers that
    an inverter guesses of an image, and of the classes that the generator was asked for."""

    stored_images: int = 0
    classes: int = 0
    vocabulary: int = 0
    targets: int = 0
    class_ids: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)
