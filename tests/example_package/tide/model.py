"""The model, as it was trained: it knows nothing of Entracte."""

import torch
from torch import Tensor, nn


class Forecaster(nn.Module):
    """Levels of the hours behind -> those of the hours ahead, and how sure they are."""

    def __init__(self, behind: int, ahead: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, width, 3, padding=1)
        self.level = nn.Linear(width * behind, ahead)
        self.spread = nn.Linear(width * behind, ahead)

    def forward(self, levels: Tensor) -> dict[str, Tensor]:
        """levels [1, behind] -> each [1, ahead]."""
        seen = torch.tanh(self.conv(levels[:, None])).flatten(1)
        return {"level": self.level(seen), "spread": torch.sigmoid(self.spread(seen))}
