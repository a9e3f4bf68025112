/** Advice on Python's errors, by the exception's class and text and by the notes that the worker has added. */
import { packageOf } from "./modules.ts";
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

/** The worker's notes on a module that is not there (facts.py). */
const MANAGED = "it is not in the environment that torchwire made";
const IMAGE = "it is not in the container's image";
const NEARLY = "there is a module named ";

const ALL: readonly Advice[] = [
  missingModule,
  ({ message }) =>
    message.includes("attempted relative import with no known parent package")
      ? 'The file is a part of a package: send the whole folder, worker.module("./folder"), and take the file from it as an attribute or by worker.import("folder.file").'
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

/** A module is not there. The worker says what kind of environment it runs in, and what is there of nearly that name. */
function missingModule({ message, notes }: PythonException): string | undefined {
  const module = /^No module named '?([^';]+)/.exec(message)?.[1];
  if (module === undefined) return undefined;
  // Of a name with dots, all but the end was found.
  const known = packageOf(module) ?? (/^\w+$/.test(module) ? module.replaceAll("_", "-") : undefined);
  const near = notes.some((note) => note.startsWith(NEARLY));
  if (known === undefined || near) return "Is its name right?";
  const asked = packageOf(module) === undefined ? "Is its name right? If so, " : "";
  const start = (text: string): string => (asked === "" ? text : asked + text[0]!.toLowerCase() + text.slice(1));
  if (notes.includes(MANAGED))
    return `${asked}npx torchwire add ${known} installs it, for this project (with --ssh HOST where the worker is on another machine).`;
  if (notes.includes(IMAGE))
    return start(
      `It is built into the container's image by its argument PACKAGES: --build-arg PACKAGES=${known} (docs/container.md).`,
    );
  return start(`Install ${known} into the worker's Python, whose folder is worker.import("sys").prefix.`);
}

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
