"""What makes several images views of one thing: one file per strategy.

A strategy draws all that differs between the views of a group from seeds alone: pure, and the same for whoever asks.
"""

from factory.views.independent import Independent
from factory.views.protocol import Draw, Strategy

__all__ = ["Draw", "Independent", "Strategy"]
