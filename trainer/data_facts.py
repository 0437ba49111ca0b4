"""What of the data decides the shape of an objective's parts: pinned with a run, so that an export can build them."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class DataFacts:
    """Counts of images that the data sets store, of labels, and of tokens that the tokenizer knows; and which it is."""

    stored_images: int = 0
    classes: int = 0
    vocabulary: int = 0
    tokenizer: str = ""  # its file's sha256, "bytes", or nothing where no captions are read

    def to_dict(self) -> dict[str, int | str]:
        return asdict(self)
