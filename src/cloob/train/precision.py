"""The precision of the encoders: autocast for the half precisions, in training and in validation."""

import torch

_HALF = (torch.float16, torch.bfloat16)


def encoder_autocast(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to `precision` (see `PRECISIONS` of the recipe); does nothing for float32 and float64."""
    dtype = getattr(torch, precision)
    is_half = dtype in _HALF
    return torch.autocast(device.type, dtype if is_half else None, enabled=is_half)
