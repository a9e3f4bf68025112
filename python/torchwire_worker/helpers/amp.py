"""Mixed precision: a module's forward under autocast."""

from __future__ import annotations

import types
from typing import Any

import torch

from .containers import with_tensors
from .precision import full


def autocast_forward(module: torch.nn.Module, device_type: str, dtype: str) -> None:
    """Make `module` compute under autocast from now on, and return float32: the loss is computed outside, in full
    precision.
    """
    own = vars(module)
    plain = own["_torchwire_amp"][2] if "_torchwire_amp" in own else own.get("forward")
    # These are neither parameters nor buffers: a state dict has the same names as before.
    own["_torchwire_amp"] = device_type, getattr(torch, dtype), plain
    # Bind the method here: a deep copy of the module then has its own.
    own["forward"] = types.MethodType(_forward, module)


def _forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    device_type, dtype, plain = self._torchwire_amp
    with torch.autocast(device_type, dtype):
        outputs = type(self).forward(self, *args, **kwargs) if plain is None else plain(*args, **kwargs)
        return with_tensors(full, outputs)
