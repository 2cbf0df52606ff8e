"""The model as compiled code: `torch.compile`, and what it says where it cannot."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vidcli.errors import TrainError


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that does what the model does; the first call compiles it.

    Parameters stay the model's own. The function raises a TrainError where there is no compiler, or
    the model cannot be compiled.
    """
    # Takes half a second to import, and who does not compile need not wait for it.
    from torch._dynamo.exc import TorchDynamoException

    run: Callable[[Tensor], Tensor] = torch.compile(model)

    def forward(clips_BTCHW: Tensor) -> Tensor:
        try:
            return run(clips_BTCHW)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainError(
                f"train.compile=on: the model cannot be compiled here ({reason}). Install a C++ compiler, "
                "or set train.compile=off"
            ) from error

    return forward
