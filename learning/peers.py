"""A process that lost another one of its run: a collective only tells it as a broken connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from learning.gather import rank, world_size

# What gloo and NCCL say of a peer that closed its connection, or kept silent for too long.
_BROKEN = ("closed by peer", "reset by peer", "Broken pipe", "timed out", "Timed out", "remote process exited", "gloo")


@contextmanager
def peers_watched(lost: Callable[[str], Exception]) -> Iterator[None]:
    """Say in one line that another process died; what is raised is the user's, as nothing here knows exit codes.

    Raises: what `lost` makes of the line.
    """
    try:
        yield
    except RuntimeError as error:
        told = " ".join(str(error).split())
        if world_size() > 1 and any(sign in told for sign in _BROKEN):
            raise lost(
                f"rank {rank()}: another process of this run is gone or does not answer ({told[-120:]}); what it said "
                "says why. Start all of them again: the same command goes on from the newest checkpoint"
            ) from error
        raise
