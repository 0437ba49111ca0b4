"""Tiny random-weight diffusers folders (below 1 MB): the layouts of SD 1.5, 2 and XL, SD3, Flux and LCM, without a hub.

Every layout makes 32 × 32 images from latents of 8 × 8. `folder(layout)` builds once a session, `build(layout, path)`
builds one to tamper with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

LAYOUTS = ("sd15", "sd2", "sdxl", "sd3", "flux", "lcm")
IMAGE_PX = 32
LATENT_PX = 8


@cache
def session() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="viewmill-tiny-")


@cache
def folder(layout: str) -> Path:
    """Return a shared, read-only folder of the layout; it is built the first time and removed when the process ends."""
    return build(layout, Path(session().name) / layout)


def source(layout: str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a diffusion source that renders the shared folder in three steps."""
    return {
        "family": "diffusion",
        "model": str(folder(layout)),
        "steps": 3,
        "width": IMAGE_PX,
        "height": IMAGE_PX,
    } | changes


def build(layout: str, path: Path, *, seed: int = 0, safety: str | None = None) -> Path:
    """Save one layout; `safety` "always" or "never" gives sd15 or lcm a checker that flags every image or none."""
    torch.manual_seed(seed)
    checker = {} if safety is None else safety_parts(safety)
    pipe = BUILDERS[layout](checker)
    liven(pipe.vae.decoder.conv_out)
    pipe.save_pretrained(path)
    return path


def liven(layer: torch.nn.Conv2d) -> None:
    """Give a random decoder the contrast of a picture, so that a view is neither blank nor saturated."""
    with torch.no_grad():
        layer.weight.mul_(1.5)


def text_tokenizer() -> Any:
    """A CLIP tokenizer that knows single bytes only: the real class, files and padding, without a download."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def t5_tokenizer() -> Any:
    from transformers import T5TokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789,."
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=77)


def clip_config(width: int, **changes: Any) -> Any:
    from transformers import CLIPTextConfig

    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 2, "num_hidden_layers": 2}
    ids = {"vocab_size": 514, "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    return CLIPTextConfig(**(sizes | ids | {"projection_dim": width} | changes))


def clip_text(width: int = 16, **changes: Any) -> Any:
    from transformers import CLIPTextModel

    return CLIPTextModel(clip_config(width, **changes)).eval()


def clip_text_projected(width: int = 16) -> Any:
    from transformers import CLIPTextModelWithProjection

    return CLIPTextModelWithProjection(clip_config(width)).eval()


def t5_text(width: int = 32) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return T5EncoderModel(config).eval()


def autoencoder(latent_channels: int = 4, **changes: Any) -> Any:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    sizes = {"block_out_channels": (8, 8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": IMAGE_PX}
    return AutoencoderKL(latent_channels=latent_channels, **(blocks | sizes | changes)).eval()


def unet(text_width: int = 16, **changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    sizes = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 2}
    rest = {"sample_size": LATENT_PX, "cross_attention_dim": text_width}
    return UNet2DConditionModel(**(blocks | sizes | rest | changes)).eval()


def scheduler(name: str, **changes: Any) -> Any:
    import diffusers

    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return getattr(diffusers, name)(**(schedule | changes))


def safety_parts(safety: str) -> dict[str, Any]:
    """A random checker whose thresholds (cosines lie in [-1, 1]) no image or every image passes."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    vision |= {"image_size": IMAGE_PX, "patch_size": 16, "projection_dim": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8)).eval()
    torch.nn.init.normal_(checker.concept_embeds)
    torch.nn.init.constant_(checker.concept_embeds_weights, {"never": 2.0, "always": -2.0}[safety])
    torch.nn.init.constant_(checker.special_care_embeds_weights, 2.0)
    sides = {"size": {"shortest_edge": IMAGE_PX}, "crop_size": {"height": IMAGE_PX, "width": IMAGE_PX}}
    return {"safety_checker": checker, "feature_extractor": CLIPImageProcessor(**sides)}


def build_sd15(checker: dict[str, Any]) -> Any:
    from diffusers import StableDiffusionPipeline

    parts = {"safety_checker": None, "feature_extractor": None} | checker
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=text_tokenizer(),
        unet=unet(),
        scheduler=scheduler("PNDMScheduler", skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
        requires_safety_checker=bool(checker),
        **parts,
    )


def build_sd2(_: dict[str, Any]) -> Any:
    from diffusers import StableDiffusionPipeline

    steps = {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}
    return StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(hidden_act="gelu"),
        tokenizer=text_tokenizer(),
        unet=unet(use_linear_projection=True, attention_head_dim=(2, 4)),
        scheduler=scheduler("DDIMScheduler", prediction_type="v_prediction", **steps),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def build_sdxl(_: dict[str, Any]) -> Any:
    from diffusers import StableDiffusionXLPipeline

    extra = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "use_linear_projection": True}
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text_projected(),
        tokenizer=text_tokenizer(),
        tokenizer_2=text_tokenizer(),
        unet=unet(32, projection_class_embeddings_input_dim=16 + 6 * 4, **extra),
        scheduler=scheduler("EulerDiscreteScheduler", timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    )


def build_sd3(_: dict[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=LATENT_PX,
        patch_size=1,
        in_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        out_channels=8,
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(8, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip_text_projected(),
        tokenizer=text_tokenizer(),
        text_encoder_2=clip_text_projected(),
        tokenizer_2=text_tokenizer(),
        text_encoder_3=t5_text(),
        tokenizer_3=t5_tokenizer(),
    )


def build_flux(_: dict[str, Any]) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(4, shift_factor=0.1, scaling_factor=0.36, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip_text(),
        tokenizer=text_tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer.eval(),
    )


def build_lcm(checker: dict[str, Any]) -> Any:
    from diffusers import LatentConsistencyModelPipeline

    parts = {"safety_checker": None, "feature_extractor": None} | checker
    return LatentConsistencyModelPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(),
        tokenizer=text_tokenizer(),
        unet=unet(time_cond_proj_dim=16),
        scheduler=scheduler("LCMScheduler"),
        requires_safety_checker=bool(checker),
        **parts,
    )


BUILDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "sd15": build_sd15,
    "sd2": build_sd2,
    "sdxl": build_sdxl,
    "sd3": build_sd3,
    "flux": build_flux,
    "lcm": build_lcm,
}
