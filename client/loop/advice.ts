/** Advice on errors of PyTorch that do not say what usually is wrong in a step. */
import { PythonError } from "../../bridge/errors/python-error.ts";
import type { Place } from "./place.ts";

/** Goes by the error's text, by the facts that the worker noted with it, and by its place. */
export function adviceOn(cause: Error, place: Place): string | undefined {
  if (!(cause instanceof PythonError)) return undefined;
  const { pyMessage: message } = cause;
  for (const [pattern, advice] of ADVICE)
    if (pattern.test(message)) return typeof advice === "string" ? advice : advice(cause, place);
  return undefined;
}

const ADVICE: readonly (readonly [RegExp, string | ((cause: PythonError, place: Place) => string | undefined)])[] = [
  [/^[Tt]arget (\S+ is out of bounds|out of range)/, aboutLabels],
  [
    /grad can be implicitly created only for scalar outputs/,
    "The loss function must return one number: reduce it, e.g. with .mean().",
  ],
  [
    /elements cannot be converted to Scalar/,
    "If that is the loss: its function must return one number; reduce it, e.g. with .mean(). (.item() is for tensors of one element.)",
  ],
  [
    /one of the following scalar types: Long, Int.*\bembedding\b/s,
    "An embedding takes whole numbers of 32 or 64 bits: give its indices as an Int32Array.",
  ],
  [
    /_loss\(\): argument 'input' .*must be Tensor, not |^'\w+' object has no attribute 'size'$/,
    "If that is the model's output, say which part of it losses and metrics see: new Learner(…, { output: (yhat) => yhat.logits }).",
  ],
  [/^[01]$/, aboutDicts],
  [
    /does not require grad and does not have a grad_fn/,
    "Nothing that the loss depends on can be trained: are all parameters frozen, or does the loss go through what has no gradient, " +
      "such as argmax, detach() or a number that was fetched?",
  ],
  [
    /^Expected more than 1 value per channel when training/,
    (_, { step }) =>
      step === 0
        ? "Normalisation over a batch needs two samples to learn from: take a batchSize above 1."
        : "Normalisation over a batch needs two samples to learn from, and the last batch has one: leave it out, new DataLoader(…, { dropLast: true }).",
  ],
];

/** Loaders of Hugging Face's collators give one dict a batch. */
function aboutDicts({ notes, pyType }: PythonError): string | undefined {
  if (pyType !== "KeyError" || !notes.some((note) => note.startsWith("it is a dict with the keys"))) return undefined;
  return (
    "If that is a batch of a loader in the worker: a batch is a pair of inputs and targets. Say which they are: " +
    'for await (const batch of loader) yield { xs: { input_ids: py.at(batch, "input_ids") }, ys: py.at(batch, "labels") }'
  );
}

function aboutLabels({ notes, pyMessage }: PythonError): string | undefined {
  const fact = /^targets are (-?\d+) to (-?\d+), and the (\d+) classes .*: outside is (.+)$/;
  const found = notes.map((note) => fact.exec(note)).find((one) => one !== null);
  if (!found) return undefined;
  const [least, most, classes] = found.slice(1, 4).map(Number) as [number, number, number];
  if (classes === 1)
    return "A model with one output tells yes from no, by bceWithLogits(), which takes targets of the outputs' shape; classes need an output each.";
  const [outside, ...others] = found[4]!.split(/, | and /);
  const isAlone = others.length === 0;
  const canIgnore = pyMessage.startsWith("Target");
  if (canIgnore && isAlone && (Number(outside) < 0 || (Number(outside) === 255 && classes < 255)))
    return `Does ${outside} stand for no label? Then let it be ignored: crossEntropy({ ignoreIndex: ${outside} }).`;
  if (least < 0 && !canIgnore) return "Labels are the indices of classes, from 0, and this loss ignores none.";
  if (least < 0)
    return "Labels are the indices of classes, from 0: one value below, which stands for no label, can be ignored (ignoreIndex); several cannot.";
  const fits = `the model's head must have an output for each class, ${most + 1} or more: has it been replaced by one that fits?`;
  return least >= 1 && most === classes
    ? `Do the labels begin at 1? They must begin at 0: take 1 away. If they begin at 0, ${fits}`
    : `A label is past the last output of the model: ${fits.replace("the model's head", "its head")}`;
}
