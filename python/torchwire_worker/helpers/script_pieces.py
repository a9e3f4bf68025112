"""Functions of the scripts that `script` writes: it copies their source. They need PyTorch and NumPy alone.

Where one has the name of a helper, scripts have it in that helper's place.
"""
# Type hints would be most of the text that a reader of a script sees.
# pyright: basic

import math

import torch


def permutation(n, seed, epoch):
    """Return the order of the samples in a shuffled epoch: Fisher and Yates, with numbers of xoshiro128**."""
    mask = 0xFFFFFFFF

    def mix(h):
        h = (h ^ h >> 16) * 0x85EBCA6B & mask
        h = (h ^ h >> 13) * 0xC2B2AE35 & mask
        return h ^ h >> 16

    def rotated(x, bits):
        return (x << bits | x >> 32 - bits) & mask

    state = [mix(i * 0x9E3779B9 & mask) for i in range(1, 5)]
    for part in (seed & mask, seed >> 32, epoch):
        state = [mix(word ^ part) for word in state]
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = n
        while j > i:
            s0, s1, s2, s3 = state
            j = (rotated(s1 * 5 & mask, 7) * 9 & mask) >> 32 - i.bit_length()
            s2, s3 = s2 ^ s0, s3 ^ s1
            state = [s0 ^ s3, s1 ^ s2, s2 ^ s1 << 9 & mask, rotated(s3, 11)]
        order[i], order[j] = order[j], order[i]
    return order


def groups_of(batches, size):
    """Return the batches in lists of `size`. The last one may be shorter."""
    batches = list(batches)
    return [batches[i : i + size] for i in range(0, len(batches), size)]


def normalize(x, mean, std, after):
    """Return (x - mean) / std. `after` counts the axes behind that of the channels."""
    mean = torch.tensor(mean, dtype=x.dtype, device=x.device).reshape(-1, *[1] * after)
    std = torch.tensor(std, dtype=x.dtype, device=x.device).reshape(-1, *[1] * after)
    return x.sub(mean).div(std)


def require_gradients(module, required):
    module.requires_grad_(required)


def full(outputs):
    """Return the outputs of a model with floats of 16 bits as float32."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float() if outputs.is_floating_point() and outputs.element_size() < 4 else outputs
    if isinstance(outputs, dict):
        return type(outputs)(**{name: full(part) for name, part in outputs.items()})
    return type(outputs)(map(full, outputs)) if isinstance(outputs, (list, tuple)) else outputs


# --- how much a batch weighs in the mean loss of an epoch: the divisor of its own mean ---


def weight_of_elements(yhat, ys):
    return math.prod(torch.broadcast_shapes(yhat.shape, ys.shape))


def weight_of_classes(yhat, ys):
    if yhat.shape == ys.shape:
        return yhat.numel() // (yhat.shape[1] if yhat.dim() > 1 else len(yhat))
    return int((ys != -100).sum())


def weight_of_rows(yhat, ys):
    return len(yhat) if yhat.dim() > 1 else 1


# --- schedules: the value at step t, counted from 1 ---


def one_cycle(t, steps, top, start, end, percent):
    """Rise along half a cosine, and fall along another."""
    up = math.ceil(steps * percent)
    over = t - 1
    if over < up:
        return (top - start) * ((1 - math.cos(math.pi * (over / up))) / 2) + start
    if over < steps:
        return (top - end) * ((1 + math.cos(math.pi * ((over - up) / (steps - up)))) / 2) + end
    return end
