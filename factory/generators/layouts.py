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
    encoded: tuple[int, ...]
    embeddings: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    packed: bool = False


_POOLED = ("prompt_embeds", "pooled_prompt_embeds")
_NEGATIVE_POOLED = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")

LAYOUTS = {
    "StableDiffusionPipeline": Layout("unet", UNET_SCHEDULERS, (0,), ("prompt_embeds",), ("negative_prompt_embeds",)),
    "StableDiffusionXLPipeline": Layout("unet", UNET_SCHEDULERS, (0, 2), _POOLED, _NEGATIVE_POOLED),
    "LatentConsistencyModelPipeline": Layout("unet", frozenset({"LCMScheduler"}), (0,), ("prompt_embeds",)),
    "StableDiffusion3Pipeline": Layout("transformer", FLOW_SCHEDULERS, (0, 2), _POOLED, _NEGATIVE_POOLED),
    "FluxPipeline": Layout("transformer", FLOW_SCHEDULERS, (0, 1), _POOLED, packed=True),
}
SCHEDULERS = UNET_SCHEDULERS | FLOW_SCHEDULERS
