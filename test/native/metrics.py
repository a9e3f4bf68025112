"""Metrics of all outputs at once, in plain Python: the reference of the metrics' test.

    python metrics.py --cases FILE --out FILE

The cases are a JSON list of objects: `outputs` and `targets` of all samples in order, as nested lists; `batches`, how
many samples each step has; `metric`, a name below; and `options`, its options in camelCase. It writes to --out, for
each case: `epoch`, the value over all samples, and `steps`, the value of each batch by itself. NaN is null.
"""

import argparse
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np


def rows_of(outputs, targets, axis=1):
    """Return scores and class of every sample, or of every pixel of images.

    Targets with as many axes as the outputs are probabilities.
    """
    classes = outputs.shape[axis]
    scores = np.moveaxis(outputs, axis, -1).reshape(-1, classes).tolist()
    if targets.ndim == outputs.ndim:
        return scores, [row.index(max(row)) for row in np.moveaxis(targets, axis, -1).reshape(-1, classes).tolist()]
    return scores, targets.reshape(-1).tolist()


def that_count(outputs, targets, options):
    scores, classes = rows_of(outputs, targets, options.get("axis", 1))
    ignored = options.get("ignoreIndex", -100)
    return [(row, label) for row, label in zip(scores, classes) if label != ignored]


def labels_of(outputs, targets, options):
    """Return pairs of score and answer for each label: for one, if the outputs have no axis of labels."""
    if outputs.ndim < 2 or outputs.ndim != targets.ndim:
        columns = [(outputs.reshape(-1), targets.reshape(-1))]
    else:
        axis = options.get("axis", 1)
        columns = [
            (outputs.take(i, axis).reshape(-1), targets.take(i, axis).reshape(-1)) for i in range(outputs.shape[axis])
        ]
    ignored = options.get("ignoreIndex", -100)
    return [[(s, y) for s, y in zip(scores.tolist(), ys.tolist()) if y != ignored] for scores, ys in columns]


def is_yes_or_no(outputs, targets):
    return outputs.size == targets.size


def best(row):
    return row.index(max(row))


def ratio(a, b):
    return a / b if b else math.nan


def top_k(outputs, targets, options):
    pairs = that_count(outputs, targets, options)
    right = [label in sorted(range(len(row)), key=lambda j: (-row[j], j))[: options["k"]] for row, label in pairs]
    return ratio(sum(right), len(pairs))


def perplexity(outputs, targets, options):
    def surprise(row, label):
        largest = max(row)
        return largest + math.log(math.fsum(math.exp(s - largest) for s in row)) - row[label]

    pairs = that_count(outputs, targets, options)
    return math.exp(math.fsum(surprise(*pair) for pair in pairs) / len(pairs)) if pairs else math.nan


def found_rightly(outputs, targets, options):
    """Return, for each class or label, the samples that have it, and those in which it was found."""
    if is_yes_or_no(outputs, targets):
        threshold = options.get("threshold", 0)
        columns = labels_of(outputs, targets, options)
        if options.get("average", "binary") == "binary":
            columns = [[pair for column in columns for pair in column]]
        return [([y == 1 for _, y in column], [s > threshold for s, _ in column]) for column in columns]
    pairs = that_count(outputs, targets, options)
    classes = outputs.shape[options.get("axis", 1)]
    return [([label == c for _, label in pairs], [best(row) == c for row, _ in pairs]) for c in range(classes)]


def retrieval(kind):
    def value(there, found, zero):
        right = sum(a and b for a, b in zip(there, found))
        if kind == "precision":
            return right / sum(found) if sum(found) else zero
        if kind == "recall":
            return right / sum(there) if sum(there) else zero
        wrong = sum(a != b for a, b in zip(there, found))
        return right / (right + wrong / 2) if right + wrong else zero

    def metric(outputs, targets, options):
        zero = options.get("zeroDivision", 0)
        average = options.get("average", "binary")
        classes = found_rightly(outputs, targets, options)
        if average == "binary":
            return value(*(classes[0] if len(classes) == 1 else classes[options.get("positive", 1)]), zero)
        if average == "micro":
            return value([a for there, _ in classes for a in there], [b for _, found in classes for b in found], zero)
        present = [(there, found) for there, found in classes if any(there) or any(found)]
        weights = [1 if average == "macro" else sum(there) for there, _ in present]
        if sum(weights) == 0:
            return zero
        return math.fsum(value(*one, zero) * weight for one, weight in zip(present, weights)) / sum(weights)

    return metric


def confusion(outputs, targets, options):
    if is_yes_or_no(outputs, targets):
        flat = labels_of(outputs.reshape(-1), targets.reshape(-1), options)[0]
        pairs = [(int(y), int(s > options.get("threshold", 0))) for s, y in flat]
        classes = 2
    else:
        pairs = [(label, best(row)) for row, label in that_count(outputs, targets, options)]
        classes = outputs.shape[options.get("axis", 1)]
    return [[pairs.count((i, j)) for j in range(classes)] for i in range(classes)]


def area(scores, truth):
    """Compare every positive sample with every negative one."""
    positives = [s for s, y in zip(scores, truth) if y]
    negatives = [s for s, y in zip(scores, truth) if not y]
    if not positives or not negatives:
        return None
    won = sum(Fraction((p > n) + (p >= n), 2) for p in positives for n in negatives)
    return float(won / (len(positives) * len(negatives)))


def auc(outputs, targets, options):
    if is_yes_or_no(outputs, targets):
        columns = [
            ([s for s, _ in column], [y == 1 for _, y in column]) for column in labels_of(outputs, targets, options)
        ]
    else:
        pairs = that_count(outputs, targets, options)
        columns = []
        for c in range(outputs.shape[options.get("axis", 1)]):
            scores = [
                math.exp(row[c] - max(row)) / math.fsum(math.exp(s - max(row)) for s in row)
                if options.get("logits", True)
                else row[c]
                for row, _ in pairs
            ]
            columns.append((scores, [label == c for _, label in pairs]))
    known = [
        (value, sum(truth)) for value, truth in ((area(*column), column[1]) for column in columns) if value is not None
    ]
    weights = [1 if options.get("average", "macro") == "macro" else count for _, count in known]
    return math.fsum(value * weight for (value, _), weight in zip(known, weights)) / sum(weights) if known else math.nan


def error(power, root=False):
    def metric(outputs, targets, options):
        differences = [abs(a - b) ** power for a, b in zip(outputs.reshape(-1).tolist(), targets.reshape(-1).tolist())]
        mean = math.fsum(differences) / len(differences)
        return math.sqrt(mean) if root else mean

    return metric


def r2(outputs, targets, options):
    values = []
    for yhat, y in zip(outputs.reshape(len(outputs), -1).T.tolist(), targets.reshape(len(targets), -1).T.tolist()):
        if len(y) < 2:
            return math.nan
        mean = Fraction(0) + sum(map(Fraction, y)) / len(y)
        spread = sum((Fraction(b) - mean) ** 2 for b in y)
        missed = sum((Fraction(b) - Fraction(a)) ** 2 for a, b in zip(yhat, y))
        values.append(float(1 - missed / spread) if spread else float(missed == 0))
    return sum(values) / len(values)


METRICS = {
    "topK": top_k,
    "accuracy": lambda *args: top_k(*args[:2], {**args[2], "k": 1}),
    "perplexity": perplexity,
    "precision": retrieval("precision"),
    "recall": retrieval("recall"),
    "f1": retrieval("f1"),
    "confusionMatrix": confusion,
    "auc": auc,
    "meanAbsoluteError": error(1),
    "meanSquaredError": error(2),
    "rootMeanSquaredError": error(2, root=True),
    "r2": r2,
}


def result_of(case):
    outputs, targets = np.array(case["outputs"], dtype=float), np.array(case["targets"])
    metric = METRICS[case["metric"]]
    ends = np.cumsum(case["batches"]).tolist()
    assert ends[-1] == len(outputs) == len(targets)
    steps = [
        metric(outputs[end - n : end], targets[end - n : end], case["options"]) for n, end in zip(case["batches"], ends)
    ]
    return {"epoch": json_of(metric(outputs, targets, case["options"])), "steps": [json_of(value) for value in steps]}


def json_of(value):
    return None if isinstance(value, float) and math.isnan(value) else value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    results = [result_of(case) for case in json.loads(args.cases.read_text())]
    args.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
