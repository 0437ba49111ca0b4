"""Memory for batches, used again once nobody holds any of it: touching new pages costs a tenth of decoding."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Arrays of one shape; one comes back when the last array, tensor or view that was made of it is gone."""

    def __init__(self, shape: tuple[int, ...], most_kept: int) -> None:
        self._shape = shape
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=most_kept)

    def take(self) -> NDArray[np.uint8]:
        """Return an array of any content; hold it, or a tensor made of it, as long as its slices are used."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(self._shape, np.uint8)
        loan = memory.view()
        weakref.finalize(loan, self._free.append, memory).atexit = False
        return loan
