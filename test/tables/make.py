"""Writes the tables of optimisers and of losses from the signatures of the torch that runs it.

    python make.py optim  > ../../client/optim/table.ts
    python make.py losses > ../../client/losses/table.ts

Names, kinds and defaults come from torch. The meaning of each option is written here; an option without one is an error.
The tests run it in their worker.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from typing import Any

import torch
import torch.nn.functional as F

VERSION = ".".join(torch.__version__.split(".")[:2])


# --- meanings ---

# The name in TypeScript, and a description.
OPTIMIZERS: dict[str, tuple[str, str]] = {
    "Adadelta": ("adadelta", "Scales steps by a window of past updates and gradients, https://arxiv.org/abs/1212.5701"),
    "Adafactor": ("adafactor", "Adam with little memory: for a matrix it keeps only means of rows and columns, https://arxiv.org/abs/1804.04235"),
    "Adagrad": ("adagrad", "Scales steps by all past gradients, https://jmlr.org/papers/v12/duchi11a.html"),
    "Adam": ("adam", "Adam, https://arxiv.org/abs/1412.6980"),
    "AdamW": ("adamW", "Adam with decoupled weight decay, https://arxiv.org/abs/1711.05101"),
    "Adamax": ("adamax", "Adam by the greatest gradient instead of the mean square, https://arxiv.org/abs/1412.6980"),
    "ASGD": ("asgd", "Averaged stochastic gradient descent, https://dl.acm.org/citation.cfm?id=131098; the state holds the means, under `ax`"),
    "LBFGS": ("lbfgs", "L-BFGS evaluates model and loss several times in a step, in the worker, and takes one group only"),
    "Muon": ("muon", "Momentum made orthogonal, https://kellerjordan.github.io/posts/muon; every parameter must be a matrix"),
    "NAdam": ("nadam", "Adam with Nesterov's momentum, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ"),
    "RAdam": ("radam", "Rectified Adam, https://arxiv.org/abs/1908.03265"),
    "RMSprop": ("rmsprop", "Scales steps by a running mean of squared gradients"),
    "Rprop": ("rprop", "Resilient propagation, which steps by the signs of gradients and needs the whole data in one batch"),
    "SGD": ("sgd", "Stochastic gradient descent"),
    "SparseAdam": ("sparseAdam", "Adam for sparse gradients alone, such as those of `Embedding(…, sparse=True)`"),
}
# The first torch that has it, unless every supported torch does.
SINCE = {"Muon": "2.9"}

# Options of all optimisers, or of one: "Adam.lr".
OPTIONS = {
    "lr": "Step size",
    "Adadelta.lr": "Scales the update",
    "Adafactor.lr": "The greatest step size, relative to the size of the parameter",
    "weight_decay": "L2 penalty, added to the gradient",
    "AdamW.weight_decay": "Shrinks the weights by lr · weightDecay at each step, apart from the gradient",
    "Muon.weight_decay": "Shrinks the weights by lr · weightDecay at each step, apart from the gradient",
    "Adafactor.weight_decay": "Shrinks the weights by lr · weightDecay at each step, apart from the gradient",
    "NAdam.weight_decay": "L2 penalty, added to the gradient unless `decoupledWeightDecay`",
    "RAdam.weight_decay": "L2 penalty, added to the gradient unless `decoupledWeightDecay`",
    "decoupled_weight_decay": "Decays the weights as adamW does, apart from the gradient",
    "betas": "The shares that each step keeps of the running means of the gradient and of its square",
    "Adamax.betas": "The shares that each step keeps of the gradient's running mean and of its greatest value",
    "eps": "Added to the denominator",
    "Adafactor.eps": "Two numbers: one is added to the squared gradient (null: the dtype's epsilon), the other is the least size of a parameter that steps are relative to",
    "amsgrad": "Divides by the greatest mean square so far instead of the present one",
    "momentum": "The share of the last update in the next one",
    "Muon.momentum": "The share of the gradient's running mean that each step keeps",
    "dampening": "The share of the gradient that the momentum leaves out",
    "nesterov": "Nesterov's momentum; needs a momentum and no dampening",
    "Muon.nesterov": "Nesterov's momentum",
    "momentum_decay": "How fast the momentum approaches its final value",
    "rho": "The share of the squared gradient's running mean that each step keeps",
    "alpha": "The share of the squared gradient's running mean that each step keeps",
    "ASGD.alpha": "The power by which the step size shrinks",
    "centered": "Divides by an estimate of the variance instead of the mean square",
    "lr_decay": "The step size is lr / (1 + lrDecay · (step - 1))",
    "initial_accumulator_value": "The first value of the sums of squares",
    "lambd": "How fast the step size shrinks, and the weights with it",
    "t0": "The step at which averaging begins",
    "etas": "Factors of the step size where the sign of the gradient changes, and where it stays",
    "step_sizes": "The least and the greatest step",
    "beta2_decay": "The share of the squares' running mean that a step keeps is 1 - step ^ beta2Decay",
    "d": "The greatest root mean square of an update; larger updates are scaled down",
    "ns_coefficients": "Coefficients of the Newton-Schulz iteration",
    "ns_steps": "Rounds of the Newton-Schulz iteration",
    "adjust_lr_fn": "How the step size follows from the shape of a matrix",
    "max_iter": "The most iterations in a step",
    "max_eval": "The most evaluations of the loss in a step",
    "tolerance_grad": "Ends the step where no gradient is larger",
    "tolerance_change": "Ends the step where loss or parameters change by less",
    "history_size": "The number of past updates that are remembered",
    "line_search_fn": "How the length of a step is searched for; without it the length is `lr`",
    "foreach": "Uses one operation for many tensors: faster, with more memory",
    "fused": "Runs the whole update as one kernel",
    "maximize": "Climbs instead of descending",
    "differentiable": "Lets gradients flow through the update",
    "capturable": "Can be captured in a CUDA graph",
}
# The meaning of a default of None.
NONES = {
    "foreach": "on CUDA, where `fused` is not",
    "Adafactor.foreach": "false",
    "fused": "false",
    "max_eval": "1.25 · maxIter",
    "line_search_fn": "none",
    "adjust_lr_fn": '"original"',
    "weight": "none",
    "pos_weight": "none",
    "distance_function": "the Euclidean distance",
}
CHOICES = {
    "line_search_fn": ["strong_wolfe"],
    "adjust_lr_fn": ["original", "match_rms_adamw"],
}

# The name in TypeScript; the kind of target; the arguments from the model's output, and those from the target; a description.
LOSSES: dict[str, tuple[str, str, list[str], list[str], str]] = {
    "l1_loss": ("l1", "values", ["input"], ["target"], "The mean of the absolute differences. Shapes that differ are broadcast, [N, 1] against [N] to [N, N]"),
    "mse_loss": ("mse", "values", ["input"], ["target"], "The mean of the squared differences. Shapes that differ are broadcast, [N, 1] against [N] to [N, N]"),
    "huber_loss": ("huber", "values", ["input"], ["target"], "Half the squared difference up to `delta`; beyond it delta · (|difference| - delta / 2)"),
    "smooth_l1_loss": ("smoothL1", "values", ["input"], ["target"], "Half the squared difference / beta up to `beta`; beyond it |difference| - beta / 2"),
    "cross_entropy": (
        "crossEntropy", "classes", ["input"], ["target"],
        "Compares logits [N, C, …] with indices of classes [N, …], or with probabilities [N, C, …]. Targets of an integer type are indices; those of a float type are probabilities",
    ),
    "nll_loss": ("nll", "classes", ["input"], ["target"], "Compares log-probabilities [N, C, …] with indices of classes [N, …]"),
    "binary_cross_entropy": ("bce", "values", ["input"], ["target"], "Compares probabilities with probabilities of the same shape, element by element; logarithms end at -100"),
    "binary_cross_entropy_with_logits": ("bceWithLogits", "values", ["input"], ["target"], "Compares logits with probabilities of the same shape, element by element"),
    "kl_div": ("klDiv", "values", ["input"], ["target"], 'The Kullback-Leibler divergence between log-probabilities and probabilities. "mean" divides by all elements; the divergence by definition is "batchmean"'),
    "poisson_nll_loss": ("poissonNll", "values", ["input"], ["target"], "The negative log-likelihood of counts, given the logarithms of their rates"),
    "gaussian_nll_loss": ("gaussianNll", "values", ["input", "var"], ["target"], "The negative log-likelihood of values, given their means and variances; the model gives (means, variances)"),
    "hinge_embedding_loss": ("hingeEmbedding", "values", ["input"], ["target"], "The model gives distances. The loss is the distance where the target is 1, and max(0, margin - distance) where it is -1"),
    "margin_ranking_loss": ("marginRanking", "values", ["input1", "input2"], ["target"], "max(0, -target · (input1 - input2) + margin), with targets 1 and -1; the model gives (input1, input2)"),
    "cosine_embedding_loss": (
        "cosineEmbedding", "values", ["input1", "input2"], ["target"],
        "1 - cosine where the target is 1, and max(0, cosine - margin) where it is -1; the model gives (input1, input2)",
    ),
    "triplet_margin_loss": (
        "tripletMargin", "values", ["anchor", "positive", "negative"], [],
        "max(0, |anchor - positive| - |anchor - negative| + margin); the model gives (anchor, positive, negative), and there is no target",
    ),
    "triplet_margin_with_distance_loss": (
        "tripletMarginWithDistance", "values", ["anchor", "positive", "negative"], [],
        "tripletMargin with a distance of your own; the model gives (anchor, positive, negative), and there is no target",
    ),
    "multi_margin_loss": ("multiMargin", "classes", ["input"], ["target"], "The hinge loss of scores [N, C] for indices of classes [N]"),
    "multilabel_margin_loss": ("multilabelMargin", "classes", ["input"], ["target"], "The hinge loss of scores [N, C] for indices of classes [N, C], of which those before the first -1 count"),
    "multilabel_soft_margin_loss": ("multilabelSoftMargin", "values", ["input"], ["target"], "bceWithLogits of logits [N, C] and zeros and ones [N, C], as a mean over the classes"),
    "soft_margin_loss": ("softMargin", "values", ["input"], ["target"], "log(1 + exp(-target · input)), with targets 1 and -1"),
    "ctc_loss": (
        "ctc", "classes", ["log_probs"], ["targets", "input_lengths", "target_lengths"],
        "Connectionist temporal classification of log-probabilities [T, N, C]; the target is (targets, inputLengths, targetLengths)",
    ),
}
# These join a layer and its loss, so their weight is neither output nor target.
NO_LOSSES = ["linear_cross_entropy"]

LOSS_OPTIONS = {
    "reduction": 'How the losses of a batch become one number; "none" leaves them',
    "weight": "A weight for each element, broadcast",
    "cross_entropy.weight": "A weight for each class",
    "nll_loss.weight": "A weight for each class",
    "multi_margin_loss.weight": "A weight for each class",
    "multilabel_soft_margin_loss.weight": "A weight for each class",
    "pos_weight": "The weight of positive examples, for each class; above 1 it favours recall",
    "ignore_index": "Targets of this index do not count",
    "label_smoothing": "The share of the target, 0 to 1, that is spread evenly over all classes",
    "delta": "The difference at which the square ends and the line begins",
    "beta": "The difference at which the square ends and the line begins; 0 makes it l1",
    "log_target": "The targets are log-probabilities too",
    "log_input": "The model gives logarithms of rates, not rates",
    "full": "Adds Stirling's approximation of the term that does not depend on the model",
    "gaussian_nll_loss.full": "Adds the term that does not depend on the model",
    "eps": "Keeps logarithms away from log(0), with `logInput: false` only",
    "gaussian_nll_loss.eps": "The least variance",
    "triplet_margin_loss.eps": "Added to the differences",
    "margin": "The distance that is far enough",
    "p": "The power of the hinge, 1 or 2",
    "triplet_margin_loss.p": "The norm that measures distances",
    "swap": "Uses the distance of positive and negative where it is less than that of anchor and negative",
    "distance_function": "A reference to a Python function of two tensors that gives their distances",
    "blank": "The class that stands for no label",
    "zero_infinity": "Counts sequences that are too short for their targets as 0, not as infinite",
}
REDUCTIONS = {"kl_div": ["mean", "batchmean", "sum", "none"]}
DEPRECATED = {"size_average", "reduce"}


# --- from Python to TypeScript ---


def camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"[{', '.join(written(item) for item in value)}]"
    # TypeScript has one number for 0 and 0.0.
    return repr(value).replace("e-0", "e-").removesuffix(".0")


def kind_of(owner: str, option: str, annotation: str, default: Any) -> tuple[str, str]:
    """The option's kind, and its type in TypeScript."""
    if option == "reduction":
        names = REDUCTIONS.get(owner)
        return (choice(names), union(names)) if names else ("reduction", "Reduction")
    if option in CHOICES:
        return choice(CHOICES[option]), union(CHOICES[option])
    if "Callable" in annotation:
        return "reference", "PyObject"
    if "bool" in annotation:
        return "flag", "boolean"
    if isinstance(default, tuple):
        if None in default:
            return "floats(2, null)", f"readonly [{', '.join('Float | null' if item is None else 'Float' for item in default)}]"
        item = "Float | TensorLike" if "Tensor" in annotation else "Float"
        return f"floats({len(default)})", f"readonly [{', '.join([item] * len(default))}]"
    if "float" in annotation:
        return "float", "Float | TensorLike" if "Tensor" in annotation else "Float"
    if "int" in annotation:
        return "int", "Int"
    if "Tensor" in annotation:
        return "tensor", "TensorOption"
    raise SystemExit(f"{owner}: what is {option}: {annotation}?")


def choice(names: list[str]) -> str:
    return f"oneOf({', '.join(map(json.dumps, names))})"


def union(names: list[str]) -> str:
    return " | ".join(map(json.dumps, names))


def options_of(owner: str, function: Any, without: set[str]) -> list[tuple[str, str, Any]]:
    """The name, the annotation and the default of each option."""
    parameters = list(inspect.signature(function).parameters.values())
    return [
        (parameter.name, inspect.formatannotation(parameter.annotation), parameter.default)
        for parameter in parameters
        if parameter.name not in without | DEPRECATED
    ]


def default_of(owner: str, option: str, value: Any) -> str:
    if value is not None:
        return written(value)
    return NONES.get(f"{owner}.{option}") or NONES[option]


def comment(text: str, indent: str = "") -> list[str]:
    if len(indent) + len(text) + 7 <= 120:
        return [f"{indent}/** {text} */"]
    return [f"{indent}/**", *(f"{indent} * {line}" for line in textwrap.wrap(text, 117 - len(indent), break_on_hyphens=False)), f"{indent} */"]


def interface(name: str, owner: str, options: list[tuple[str, str, Any]], said: dict[str, str]) -> list[str]:
    lines = [f"export interface {name} {{"]
    for option, annotation, default in options:
        text = said.get(f"{owner}.{option}") or said[option]
        lines += comment(f"{text}. PyTorch's default: {default_of(owner, option, default)}.", "  ")
        lines.append(f"  readonly {camel(option)}?: {kind_of(owner, option, annotation, default)[1]};")
    return [*lines, "}"]


def constant(name: str, factory: str, typed: str, row: list[str], owner: str, options: list[tuple[str, str, Any]]) -> list[str]:
    pairs = [(camel(option), kind_of(owner, option, annotation, default)[0]) for option, annotation, default in options]
    declared, made = f"export const {name}: {factory}<{typed}> =", f"define<{typed}>({{"
    # oxfmt breaks lines here.
    fits = len(declared) + 1 + len(made) <= 120
    body = [
        *(f"  {part}," for part in row),
        "  options: {",
        *(f"    {option}," if option == kind else f"    {option}: {kind}," for option, kind in pairs),
        "  },",
        "});",
    ]
    return [f"{declared} {made}", *body] if fits else [declared, *(f"  {line}" for line in [made, *body])]


def optimizers() -> dict[str, list[tuple[str, str, Any]]]:
    found = [name for name, cls in vars(torch.optim).items() if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)]
    found.remove("Optimizer")
    unknown = sorted(set(found) - set(OPTIMIZERS))
    if unknown:
        raise SystemExit(f"torch.optim has {', '.join(unknown)}: describe them in OPTIMIZERS")
    return {
        name: options_of(name, getattr(torch.optim, name).__init__, {"self", "params"})
        for name in OPTIMIZERS
        if name in found
    }


def losses() -> dict[str, list[tuple[str, str, Any]]]:
    looks = re.compile(r"(_loss|entropy|entropy_with_logits|kl_div|nll)$")
    found = [name for name in vars(F) if looks.search(name) and not name.startswith("_")]
    unknown = sorted(set(found) - set(LOSSES) - set(NO_LOSSES))
    if unknown:
        raise SystemExit(f"torch.nn.functional has {', '.join(unknown)}: describe them in LOSSES")
    return {
        name: options_of(name, getattr(F, name), {*LOSSES[name][2], *LOSSES[name][3]})
        for name in LOSSES
        if name in found
    }


HEAD = f"// Written by test/tables/make.py from torch {VERSION}: change it there."


def optim_table() -> list[str]:
    lines = [
        HEAD,
        'import type { Float, Int } from "../../bridge/types/core.ts";',
        'import type { TensorLike } from "../../bridge/types/values.ts";',
        'import { flag, float, floats, int, oneOf } from "../options/keywords.ts";',
        'import { define, type OptimizerFactory } from "./define.ts";',
    ]
    for cls, options in optimizers().items():
        name, text = OPTIMIZERS[cls]
        typed = f"{name[0].upper()}{name[1:]}Options"
        since = f" Since torch {SINCE[cls]}." if cls in SINCE else ""
        row = [f'name: "{name}"', f'className: "{cls}"']
        row += [f'since: "{SINCE[cls]}"'] if cls in SINCE else []
        row += ["closure: true"] if cls == "LBFGS" else []
        lines += ["", *interface(typed, cls, options, OPTIONS), ""]
        lines += comment(f"{text}: `torch.optim.{cls}`.{since}")
        lines += constant(name, "OptimizerFactory", typed, row, cls, options)
    return lines


def losses_table() -> list[str]:
    lines = [
        HEAD,
        'import type { Float, Int, PyObject } from "../../bridge/types/core.ts";',
        'import { flag, float, int, oneOf, reference, tensor, type TensorOption } from "../options/keywords.ts";',
        'import { define, reduction, type LossFactory, type Reduction } from "./define.ts";',
    ]
    for function, options in losses().items():
        name, targets, outputs, given, text = LOSSES[function]
        typed = f"{name[0].upper()}{name[1:]}Options"
        lines += ["", *interface(typed, function, options, LOSS_OPTIONS), ""]
        lines += comment(f"{text}: `F.{function}`.")
        row = [f'name: "{name}"', f'function: "{function}"', f'targets: "{targets}"']
        if len(outputs) != 1 or len(given) != 1:
            row += [f"outputs: {json.dumps(outputs)}", f"given: {json.dumps(given)}"]
        lines += constant(name, "LossFactory", typed, row, function, options)
    return lines


def table(which: str) -> str:
    return "\n".join([*(optim_table() if which == "optim" else losses_table()), ""])


def defaults(which: str) -> dict[str, dict[str, str]]:
    found, names = (optimizers(), OPTIMIZERS) if which == "optim" else (losses(), LOSSES)
    return {
        names[owner][0]: {camel(option): default_of(owner, option, default) for option, _, default in options}
        for owner, options in found.items()
    }


if __name__ == "__main__":
    sys.stdout.write(table(sys.argv[1]))
