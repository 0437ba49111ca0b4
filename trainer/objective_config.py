"""What a run's config may say about its objective: one model for each method, told apart by `name`; no torch.

Defaults are the papers' where they do not depend on the size of the run.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positives = Literal["image", "group"]  # another crop of the same image, or other views of the same group
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProjectionConfig(_Section):
    hidden: int = Field(default=512, ge=1)  # width of the projection head
    dimensions: int = Field(default=128, ge=1)  # width of what the loss compares
    layers: int = Field(default=2, ge=1, le=4)
    norm: Literal["batch", "layer"] = "batch"  # batch: statistics over all ranks


class ContrastiveConfig(ProjectionConfig):
    temperature: float = Field(default=0.1, gt=0)
    decoupled: bool = False  # leave positives out of the denominator (DCL)


class SimClrConfig(ContrastiveConfig):
    name: Literal["simclr"] = "simclr"


class PatchesConfig(ContrastiveConfig):
    name: Literal["patches"] = "patches"
    whole_px: int = Field(default=64, ge=8, le=4096)  # side of the image that two patches of encoder.size_px are cut of
    distance_px: int = Field(default=16, ge=0)  # from one to the other, along one axis


class SupConConfig(ContrastiveConfig):
    name: Literal["supcon"] = "supcon"
    positives: Literal["label", "group"] = "label"

    @property
    def reads_labels(self) -> bool:
        return self.positives == "label"


class StableRepConfig(ContrastiveConfig):
    name: Literal["stablerep"] = "stablerep"


class TextConfig(_Section):
    width: int = Field(default=512, ge=8)
    layers: int = Field(default=12, ge=1, le=64)
    heads: int = Field(default=8, ge=1)
    context: int = Field(default=77, ge=4, le=4096)  # tokens of a caption; the rest is cut off
    tokenizer: str = "bytes"  # or the path of a tokenizer.json, such as CLIP's

    @model_validator(mode="after")
    def _heads_fit(self) -> TextConfig:
        if self.width % self.heads:
            raise ValueError(f"width to be a multiple of heads ({self.heads}), found {self.width}")
        return self


class TwoTowersConfig(_Section):
    dimensions: int = Field(default=512, ge=1)  # width of what the towers' loss compares
    initial_temperature: float = Field(default=0.07, gt=0)
    text: TextConfig = TextConfig()


class ClipConfig(TwoTowersConfig):
    name: Literal["clip"] = "clip"


class SiglipConfig(TwoTowersConfig):
    name: Literal["siglip"] = "siglip"


class StableRepTextConfig(TwoTowersConfig):
    name: Literal["stablerep_text"] = "stablerep_text"
    image: ContrastiveConfig = ContrastiveConfig()


class MocoConfig(ProjectionConfig):
    name: Literal["moco"] = "moco"
    temperature: float = Field(default=0.2, gt=0)
    queue: int = Field(default=65_536, ge=2)  # keys of earlier batches
    momentum: float = Field(default=0.999, ge=0, lt=1)  # of the key encoder, a step
    positives: Positives = "image"


class MocoV3Config(ProjectionConfig):
    name: Literal["mocov3"] = "mocov3"
    temperature: float = Field(default=0.2, gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)  # rises to 1 over the run
    positives: Positives = "image"


class JigsawConfig(_Section):
    grid: int = Field(default=3, ge=2, le=8)
    jigsaw_px: int = Field(default=255, ge=12)  # side of the crop that is cut
    patch_px: int = Field(default=64, ge=4)  # side of the patch taken out of each cell
    jigsaw_weight: Share = 0.5

    @model_validator(mode="after")
    def _patches_fit(self) -> JigsawConfig:
        if self.patch_px > self.jigsaw_px // self.grid:
            raise ValueError(
                f"patch_px of at most the {self.jigsaw_px // self.grid} px of a cell, found {self.patch_px}"
            )
        return self


class InfoMinConfig(MocoConfig, JigsawConfig):
    name: Literal["infomin"] = "infomin"  # type: ignore[assignment]
    temperature: float = Field(default=0.15, gt=0)


class PirlConfig(ProjectionConfig, JigsawConfig):
    name: Literal["pirl"] = "pirl"
    temperature: float = Field(default=0.07, gt=0)
    negatives: int = Field(default=32_000, ge=1)  # entries of other images, drawn anew each step


class CmcConfig(ProjectionConfig):
    name: Literal["cmc"] = "cmc"
    temperature: float = Field(default=0.07, gt=0)
    positives: Positives = "image"


class SimSiamConfig(ProjectionConfig):
    name: Literal["simsiam"] = "simsiam"
    layers: int = Field(default=3, ge=1, le=4)
    predictor_hidden: int = Field(default=512, ge=1)
    positives: Positives = "image"


class ByolConfig(ProjectionConfig):
    name: Literal["byol"] = "byol"
    predictor_hidden: int = Field(default=512, ge=1)
    momentum: float = Field(default=0.99, ge=0, lt=1)  # rises to 1 over the run
    positives: Positives = "image"


class SynClrConfig(ProjectionConfig):
    name: Literal["synclr"] = "synclr"
    layers: int = Field(default=3, ge=1, le=4)
    norm: Literal["batch", "layer"] = "layer"
    temperature: float = Field(default=0.08, gt=0)
    momentum: float = Field(default=0.994, ge=0, lt=1)  # rises to 1 over the run
    local_crops: int = Field(default=4, ge=0, le=16)
    local_px: int = Field(default=96, ge=8)
    local_area: float = Field(
        default=0.32, gt=0.05, lt=1
    )  # share of the image at which small crops end, large ones begin
    ibot_weight: float = Field(default=1.0, ge=0)  # 0: no patch loss, which needs a vision transformer
    prototypes: int = Field(default=8192, ge=2)
    mask_images: Share = 0.5
    mask_patches: float = Field(default=0.5, gt=0, lt=1)
    student_temperature: float = Field(default=0.1, gt=0)
    teacher_temperature: float = Field(default=0.05, gt=0)


class LearnedViewsConfig(ProjectionConfig):
    name: Literal["learned_views"] = "learned_views"
    initial_temperature: float = Field(default=0.1, gt=0)  # learned from there: a fixed one bounds what can be found
    information_weight: float = Field(default=1.0, ge=0)  # 0: the flow learns from labels alone
    label_weight: float = Field(default=1.0, ge=0)  # 0: from nothing but hiding
    label_fraction: Share = 1.0  # of things whose label the flow may see
    flow_rate: float = Field(default=1.0, gt=0)  # learning rate of the flow, in those of the encoders
    head_start: float = Field(default=0.35, ge=0, lt=1)  # share of the run in which encoders learn and nothing hides
    least_nats: float = Field(default=0.5, ge=0)  # I_NCE below which the views share too little
    guard: bool = True  # make the flow give way there; without, it is only said

    @model_validator(mode="after")
    def _flow_learns(self) -> LearnedViewsConfig:
        if not self.information_weight and not self.label_weight:
            raise ValueError("information_weight and label_weight are 0; expected one above it")
        return self

    @property
    def reads_labels(self) -> bool:
        return self.label_weight > 0


class SupervisedConfig(_Section):
    name: Literal["supervised"] = "supervised"

    @property
    def reads_labels(self) -> bool:
        return True


class ScoreNetConfig(_Section):
    width: int = Field(default=16, ge=8)  # channels of the first level
    multipliers: tuple[int, ...] = Field(default=(1, 2, 2, 2), min_length=1, max_length=6)  # of it, a level each
    blocks: int = Field(default=2, ge=1, le=8)  # of each level


class CodedConfig(_Section):
    dimensions: int = Field(default=128, ge=1)  # width of the code
    regularisation: Literal["none", "l1", "kl"] = "none"  # of the code; kl: it is drawn from a normal law
    weight: float = Field(default=1e-5, ge=0)  # of the regularisation, beside a loss that is summed over an image
    net: ScoreNetConfig = ScoreNetConfig()
    data_std: float = Field(default=0.5, gt=0)  # of normalised pixels, roughly


class DrlConfig(CodedConfig):
    name: Literal["drl"] = "drl"
    sde: Literal["ve", "vp"] = "ve"  # exploding or preserved variance
    levels: Literal["time", "sigma"] = "time"  # what is drawn uniformly
    sigma_max: float = Field(default=50.0, gt=0.01)  # of ve, whose least is 0.01
    mixup: bool = False  # the encoder sees two images mixed; the one that is denoised counts by its share


class AutoencoderConfig(CodedConfig):
    name: Literal["autoencoder"] = "autoencoder"


class InvertConfig(_Section):
    name: Literal["invert"] = "invert"
    target: str = Field(
        default="latent", pattern=r"^(latent|edit_vector|alphas|x_\w+)$"
    )  # column of the rows that is guessed; x_…: one of the maker's own, such as w
    conditional: bool = False  # guess the class that the generator was asked for as well
    class_weight: float = Field(default=1.0, ge=0)


AnyObjective = Annotated[
    SimClrConfig
    | SupConConfig
    | StableRepConfig
    | StableRepTextConfig
    | ClipConfig
    | SiglipConfig
    | MocoConfig
    | MocoV3Config
    | InfoMinConfig
    | CmcConfig
    | PirlConfig
    | SynClrConfig
    | SimSiamConfig
    | ByolConfig
    | LearnedViewsConfig
    | PatchesConfig
    | SupervisedConfig
    | DrlConfig
    | AutoencoderConfig
    | InvertConfig,
    Field(discriminator="name"),
]
