"""Every preset at a size of seconds: its method, optimizer and augmentation stay, its widths shrink."""

_PATCHES = {"objective__jigsaw_px": 48, "objective__patch_px": 16}
_TEXT = "{width: 16, layers: 1, heads: 2, context: 16}"
_TOWERS = {"objective__hidden": None, "objective__dimensions": 16, "objective__text": _TEXT}
_NET = "{width: 8, multipliers: [1, 2], blocks: 1}"
_CODED = {"objective__hidden": None, "objective__dimensions": 16, "objective__net": _NET}
_VIT = "{img_size: 32, patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2, dynamic_img_size: true}"
TINY_PRESETS = {
    "autoencoder": _CODED,
    "byol": {"objective__predictor_hidden": 32},
    "clip": _TOWERS,
    "cmc": {},
    "demo": {"precision": "float32"},
    "drl": _CODED,
    "genrep": {},
    "infomin": {"objective__queue": 64, **_PATCHES},
    "invert": {"objective__hidden": None, "objective__dimensions": None},
    "learned_views": {"objective__flow_rate": 1.0},
    "moco": {"objective__queue": 64},
    "mocov3": {},
    "patches": {"encoder__size_px": 16, "objective__whole_px": 32, "objective__distance_px": 8},
    "pirl": _PATCHES,
    "siglip": _TOWERS,
    "simclr": {},
    "simsiam": {"objective__predictor_hidden": 32},
    "stablerep": {},
    "stablerep_text": {**_TOWERS, "objective__image": "{hidden: 32, dimensions: 16}"},
    "supcon": {},
    "supervised": {"objective__hidden": None, "objective__dimensions": None},
    "synclr": {
        "encoder__backbone": None,
        "encoder__arguments": _VIT,
        "objective__local_px": 16,
        "objective__prototypes": 16,
    },
    "vdrl": _CODED,
}
