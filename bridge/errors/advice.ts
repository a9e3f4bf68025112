/** Advice on Python's errors, by the exception's class and text and by the notes that the worker has added. */
import type { PythonException } from "./python-exception.ts";

type Advice = (exception: PythonException) => string | undefined;

/** The first advice that fits. */
export function adviceOn(exception: PythonException): string | undefined {
  for (const advice of ALL) {
    const found = advice(exception);
    if (found !== undefined) return found;
  }
  return undefined;
}

const WRITTEN_OUT = "the last argument is a dict that the client wrote out";

const ALL: readonly Advice[] = [
  ({ message }) =>
    message.startsWith("No module named")
      ? 'Is its name right, and is it installed in the worker\'s Python? (Its folder is worker.import("sys").prefix.)'
      : undefined,
  ({ message }) =>
    message.includes("operator torchvision::nms does not exist")
      ? "torchvision does not fit this torch (they come from two indexes, or from two releases): install both together, e.g. npx torchwire setup"
      : undefined,
  // A dict may be meant: the text must be about it, or about missing arguments.
  ({ notes, message }) =>
    notes.includes(WRITTEN_OUT) && /\bdict\b|\bargument/.test(message)
      ? "A plain object is a dict in Python; arguments by name are kw({ … }), which comes last."
      : undefined,
  dictOfParts,
  ({ type, message }) =>
    (type === "AttributeError" && message.startsWith("'tuple' object has no attribute")) ||
    (type === "TypeError" && /must be Tensor, not tuple\b/.test(message))
      ? "A tuple has several values: take one of them, py.at(yhat, 0)."
      : undefined,
  ({ message }) =>
    message.includes("device-side assert triggered")
      ? 'On a GPU that is an index out of range: mostly a label past the outputs of the model, or an index past the rows of an embedding. On the CPU, spawnWorker({ device: "cpu" }), the error says which. ' +
        "This worker's GPU answers no more: start another."
      : undefined,
];

/** The program used a dict, or the output of a Hugging Face model, where it meant one of its values. */
function dictOfParts({ type, message, notes }: PythonException): string | undefined {
  const keys = notes.map((note) => / with the keys (.+)$/.exec(note)?.[1]).find((found) => found !== undefined);
  const asked = /^'\w+' object has no attribute '(\w+)'/.exec(message)?.[1];
  if (type === "AttributeError" && keys !== undefined) {
    const key = keys.split(", ").includes(`'${asked}'`) ? asked! : firstOf(keys);
    return `The values of a dict are had by their keys: py.at(yhat, "${key}").`;
  }
  const isOperand =
    type === "TypeError" &&
    /must be Tensor, not (\w+\.)*\w*(dict|Dict|Output)\b|unsupported operand .*'(\w*[dD]ict|\w+Output)'/.test(message);
  if (!isOperand || notes.includes(WRITTEN_OUT)) return undefined;
  return `Outputs that are a dict have their tensors under keys: py.at(yhat, "${keys === undefined ? "…" : firstOf(keys)}").`;
}

const firstOf = (keys: string): string => /^'(.*?)'/.exec(keys)?.[1] ?? "…";
