"""The papers' losses in plain loops, from a module's named parameters; nothing here is the project's own arithmetic.

Only the backbone is called as it is: it is timm's.
"""

import numpy as np
import torch


def unit(x):
    return x / x.square().sum(dim=1, keepdim=True).sqrt()


def normal(x, norm):
    over = 0 if norm == "batch" else 1
    centred = x - x.mean(dim=over, keepdim=True)
    return centred / (centred.square().mean(dim=over, keepdim=True) + 1e-5).sqrt()


def mlp(p, name, x, layers=2, norm="batch", output_norm=None):
    for layer in range(layers - 1):
        x = x @ p[f"{name}.{3 * layer}.weight"].T + p.get(f"{name}.{3 * layer}.bias", 0)
        x = normal(x, norm)
        x = (x * p[f"{name}.{3 * layer + 1}.weight"] + p[f"{name}.{3 * layer + 1}.bias"]).clamp(min=0)
    last = 3 * (layers - 1)
    x = x @ p[f"{name}.{last}.weight"].T + p.get(f"{name}.{last}.bias", 0)
    return normal(x, output_norm) if output_norm else x


def nce(queries, keys, ids, key_ids, tau, left_out=None, own=None, decoupled=False):
    """Sum and number of anchors: every one alone, over a list of its keys."""
    losses = []
    for i, query in enumerate(queries):
        pairs = [
            (query @ key / tau, int(key_ids[j]) == int(ids[i]))
            for j, key in enumerate(keys)
            if left_out is None or left_out[i] != j
        ]
        if own is not None:
            pairs.append((query @ own[i] / tau, True))
        positive = [value for value, is_positive in pairs if is_positive]
        compared = [value for value, is_positive in pairs if not (decoupled and is_positive)]
        if positive and compared:
            losses.append(torch.stack(compared).exp().sum().log() - sum(positive) / len(positive))
    return (sum(losses), len(losses)) if losses else (queries.sum() * 0, 0)


def mean_nce(*args, **kwargs):
    total, count = nce(*args, **kwargs)
    return total / max(count, 1)


def among_each_other(embeddings, ids, tau, decoupled=False):
    itself = list(range(len(embeddings)))
    return mean_nce(embeddings, embeddings, ids, ids, tau, left_out=itself, decoupled=decoupled)


def next_views(rows, m):
    order = [g * m + (v + 1) % m for g in range(len(rows) // m) for v in range(m)]
    return rows[order]


def text_features(p, tokens, heads=2):
    """One pre-norm transformer layer with a causal mask, read where the text ends."""

    def norm(x, name):
        centred = x - x.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    found, layer = [], "text.blocks.layers.0"
    for row in tokens:
        length = int(row.argmax()) + 1  # what lies behind the end cannot matter
        x = p["text.tokens.weight"][row[:length]] + p["text.positions"][:length]
        normal = norm(x, f"{layer}.norm1")
        qkv = normal @ p[f"{layer}.self_attn.in_proj_weight"].T + p[f"{layer}.self_attn.in_proj_bias"]
        parts = []
        for head in range(heads):
            q, k, v = (part.chunk(heads, dim=1)[head] for part in qkv.chunk(3, dim=1))
            scores = q @ k.T / q.shape[1] ** 0.5
            for i in range(length):
                weights = scores[i, : i + 1].softmax(dim=0)
                parts.append((i, head, weights @ v[: i + 1]))
        joined = torch.stack([torch.cat([part for j, _, part in parts if j == i]) for i in range(length)])
        x = x + linear(joined, f"{layer}.self_attn.out_proj")
        hidden = linear(norm(x, f"{layer}.norm2"), f"{layer}.linear1")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(hidden, f"{layer}.linear2")
        found.append(norm(x, "text.norm")[-1])
    return torch.stack(found)


def captioned(p, images, tokens, ids, m, tau):
    """CLIP's loss, and both towers' unit rows."""
    rows = unit(images @ p["image_projection.weight"].T)
    texts = unit(text_features(p, tokens) @ p["text_projection.weight"].T)
    there = mean_nce(rows, texts, ids, ids[::m], tau)
    back = mean_nce(texts, rows, ids[::m], ids, tau)
    return (there + back) / 2, rows, texts


def sigmoid_pairs(rows, texts, ids, text_ids, scale, bias):
    total = 0
    for i, row in enumerate(rows):
        for j, text in enumerate(texts):
            z = 1 if int(ids[i]) == int(text_ids[j]) else -1
            total = total + torch.log1p(torch.exp(-z * (scale * (row @ text) + bias)))
    return total / len(rows)


def masked_tokens(backbone, images, mask, token):
    """A vision transformer with some patches' embeddings replaced: cls and patches behind the last norm."""
    x = backbone.patch_embed.proj(images)  # [n, D, h, w]
    n, _, h, w = x.shape
    x = x.flatten(2).transpose(1, 2)
    if mask is not None:
        x = torch.stack([torch.stack([token if mask[i, j] else x[i, j] for j in range(h * w)]) for i in range(n)])
    x = torch.cat([backbone.cls_token.expand(n, -1, -1), x], dim=1) + backbone.pos_embed
    for block in backbone.blocks:
        x = block(x)
    x = backbone.norm(x)
    return x[:, 0], x[:, 1:]


def sinkhorn(scores, temperature, rounds=3):
    q = np.exp(scores.detach().numpy() / temperature)
    for _ in range(rounds):
        q = q / q.sum(axis=0, keepdims=True)
        q = q / q.sum(axis=1, keepdims=True)
    return torch.from_numpy(q)


def prototype_scores(p, name, tokens):
    return unit(mlp(p, f"{name}.head", tokens, layers=3, norm="layer")) @ unit(p[f"{name}.prototypes.weight"]).T
