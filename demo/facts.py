"""The numbers of a demo: one frozen model that becomes report.json and that the page shows without changing a digit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

METHODS = {
    "encoder": "Pretrained on rendered images only",
    "random": "The same network, untrained",
    "pixels": "Raw 16×16 pixels",
    "imagenet": "EfficientNet-lite0, trained on ImageNet",
}
BASELINES = ("random", "pixels")
MEASURES = {"linear": "Linear probe", "knn": "5 nearest neighbours"}


class Fact(BaseModel):
    """A frozen part of the report."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Score(Fact):
    """Balanced accuracy with its 95 % interval; n counts independent groups of images (near-duplicates are one)."""

    mean: float
    low: float
    high: float
    n: int


class Difference(Fact):
    """The encoder's balanced accuracy minus a baseline's, on the same images, with its 95 % interval."""

    mean: float
    low: float
    high: float
    smallest_detectable: float
    signs_agree: bool
    seeds: int
    is_evidence: bool


class LabelledSet(Fact):
    """Which labelled images were asked, and which part of them."""

    name: str
    split: str
    root: str
    images: int
    classes: int

    @property
    def chance(self) -> float:
        """Balanced accuracy of a guess."""
        return 1 / self.classes


class Rendering(Fact):
    """What the factory made and how fast."""

    images: int
    groups: int
    views_per_group: int
    seconds: float
    images_per_s: float


class Pretraining(Fact):
    """What the trainer saw and how fast."""

    images_seen: int
    seconds: float
    images_per_s: float
    data_wait_fraction: float
    loss: float


class Report(Fact):
    """Everything report.json holds."""

    label: str = "smoke"
    seeds: int = 1
    date: str
    commit: str | None
    root: str
    stream_ids: list[str]
    generators: list[str]
    config_sha256: str
    encoder_sha256: str
    test_set: LabelledSet
    chance: float
    results: dict[str, dict[str, Score]]
    differences: dict[str, dict[str, Difference]]
    render: Rendering
    pretrain: Pretraining
    seconds: float
    memory_peak_bytes: int  # that all processes of a step held together, in the step that took most
    steps: dict[str, float]  # seconds
    steps_memory_peak_bytes: dict[str, int]
    commands: dict[str, str]
    hardware: dict[str, str]
    versions: dict[str, str]
