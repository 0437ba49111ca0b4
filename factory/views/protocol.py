"""What every view strategy looks like to the plan.

A strategy draws all that differs between the views of a group from seeds alone: pure, and the same for whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

from factory.walks.file import Learned
from manifests import seeds

Family = Literal["diffusion", "latent"]
FileKey = Literal["walks", "navigator"]
Vector = tuple[float, ...]


@dataclass(frozen=True)
class LatentSpace:
    """Where a latent generator's images come from: how long its vectors are, and the law that anchors follow."""

    z_dim: int
    w_dim: int
    num_layers: int  # style inputs; 1 where there are none
    tau: float = 1.0  # scale of the law
    bound: float | None = None  # in units of tau; None: not truncated
    psi: tuple[float, float] = (1.0, 1.0)  # range that each view draws from


@dataclass(frozen=True)
class Place:
    """Which view of which group, at which attempt: all that a draw may depend on."""

    seed: int
    group: int
    view: int
    attempt: int = 0

    @cached_property
    def group_seed(self) -> int:
        return seeds.group_seed(self.seed, self.group)

    @cached_property
    def view_seed(self) -> int:
        return seeds.view_seed(self.seed, self.group, self.view, self.attempt)

    @cached_property
    def first_seed(self) -> int:
        """Return the seed for what a view keeps when it is rolled again."""
        return seeds.view_seed(self.seed, self.group, self.view, 0)

    @property
    def is_anchor(self) -> bool:
        """Say whether this is the anchor itself; rolled again, it is a view of it like the others."""
        return self.view == 0 and self.attempt == 0


@dataclass(frozen=True)
class Edit:
    """What is done to the styles of some layers: mixed with another z's, or moved by a vector in w."""

    kind: Literal["mix", "add"]
    vector: Vector
    first_layer: int
    last_layer: int  # inclusive


@dataclass(frozen=True)
class Draw:
    """What makes one view of a group; `columns` are its strategy's numbers as they stand in the row."""

    seed: int  # of the noise
    latent: Vector | None = None  # z, where the generator starts from one
    edit: Edit | None = None
    prompt: str | None = None  # instead of the group's
    guidance_scale: float | None = None  # instead of the group's
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What a strategy may know of the thing that a group shows."""

    prompt: str = ""
    variants: tuple[str, ...] = ()


Drawer = Callable[[Place, Subject], Draw]


class Strategy(Protocol):
    """How the views of a group differ; the fields of a strategy are part of the recipe's identity."""

    FAMILIES: ClassVar[frozenset[Family]]
    FILE: ClassVar[FileKey | None]  # the field that names a file of learned steps, if it needs one

    @property
    def name(self) -> str:
        """Return the value of the `strategy` column."""

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        """Return the pure draw of one view; space is None for generators that are driven by prompts.

        Raises: UserError where the strategy does not fit the space.
        """
