"""Every preset at a size of seconds: its method, optimizer and augmentation stay, its widths shrink."""

_PATCHES = {"objective__jigsaw_px": 48, "objective__patch_px": 16}
_TEXT = "{width: 16, layers: 1, heads: 2, context: 16}"
_TOWERS = {"objective__hidden": None, "objective__dimensions": 16, "objective__text": _TEXT}
_VIT = "{img_size: 32, patch_size: 8, embed_dim: 16, depth: 2, num_heads: 2, dynamic_img_size: true}"
TINY_PRESETS = {
    "byol": {"objective__predictor_hidden": 32},
    "clip": _TOWERS,
    "cmc": {},
    "demo": {"precision": "float32"},
    "genrep": {},
    "infomin": {"objective__queue": 64, **_PATCHES},
    "moco": {"objective__queue": 64},
    "mocov3": {},
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
}
