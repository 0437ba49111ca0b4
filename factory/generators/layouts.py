"""The diffusers pipeline classes that ViewMill knows, and the schedulers that can be seeded view by view: no torch.

A class is listed once its parity with a plain diffusers call, and the independence of a view from its neighbours,
are tested.
"""

from __future__ import annotations

from dataclasses import dataclass

UNET_SCHEDULERS = frozenset(
    {
        "DDIMScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LCMScheduler",
        "PNDMScheduler",
        "TCDScheduler",
        "UniPCMultistepScheduler",
    }
)
# These pipelines hand no generator to their scheduler: only those that draw nothing are safe.
FLOW_SCHEDULERS = frozenset({"FlowMatchEulerDiscreteScheduler"})


@dataclass(frozen=True)
class Layout:
    """How one pipeline class takes its embeddings, and what it can be given.

    `embeddings` are the names under which the call takes what `encoded` picks from encode_prompt's result;
    `negatives` is empty where the class has no negative prompt.
    """

    denoiser: str
    schedulers: frozenset[str]
    needed: frozenset[str]
    encoded: tuple[int, ...]
    embeddings: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    packed: bool = False


_POOLED = ("prompt_embeds", "pooled_prompt_embeds")
_NEGATIVE_POOLED = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
_ONE_TEXT = frozenset({"vae", "scheduler", "text_encoder", "tokenizer"})
_TWO_TEXTS = _ONE_TEXT | {"text_encoder_2", "tokenizer_2"}
_IMAGE = frozenset({"feature_extractor", "image_encoder"})

LAYOUTS = {
    "StableDiffusionPipeline": Layout(
        denoiser="unet",
        schedulers=UNET_SCHEDULERS,
        needed=_ONE_TEXT | {"unet"},
        optional=_IMAGE | {"safety_checker"},
        encoded=(0,),
        embeddings=("prompt_embeds",),
        negatives=("negative_prompt_embeds",),
    ),
    "StableDiffusionXLPipeline": Layout(
        denoiser="unet",
        schedulers=UNET_SCHEDULERS,
        needed=_TWO_TEXTS | {"unet"},
        optional=_IMAGE,
        encoded=(0, 2),
        embeddings=_POOLED,
        negatives=_NEGATIVE_POOLED,
    ),
    "LatentConsistencyModelPipeline": Layout(
        denoiser="unet",
        schedulers=frozenset({"LCMScheduler"}),
        needed=_ONE_TEXT | {"unet"},
        optional=_IMAGE | {"safety_checker"},
        encoded=(0,),
        embeddings=("prompt_embeds",),
    ),
    "StableDiffusion3Pipeline": Layout(
        denoiser="transformer",
        schedulers=FLOW_SCHEDULERS,
        needed=_TWO_TEXTS | {"transformer"},
        optional=_IMAGE | {"text_encoder_3", "tokenizer_3"},
        encoded=(0, 2),
        embeddings=_POOLED,
        negatives=_NEGATIVE_POOLED,
    ),
    "FluxPipeline": Layout(
        denoiser="transformer",
        schedulers=FLOW_SCHEDULERS,
        needed=_TWO_TEXTS | {"transformer"},
        optional=_IMAGE,
        encoded=(0, 1),
        embeddings=_POOLED,
        packed=True,
    ),
}
SCHEDULERS = UNET_SCHEDULERS | FLOW_SCHEDULERS
