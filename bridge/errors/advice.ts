/** Advice on Python's errors, by the exception's class and text and by the notes that the worker has added. */
import { besideProgram } from "./beside.ts";
import { packageOf } from "./modules.ts";
import type { PythonException } from "./python-exception.ts";

type Advice = (exception: PythonException, operation: string) => string | undefined;

/** The first advice that fits. `operation` is the one that raised, as Python would write it. */
export function adviceOn(exception: PythonException, operation: string): string | undefined {
  for (const advice of ALL) {
    const found = advice(exception, operation);
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
  namedInJavaScript,
  dictOfParts,
  listOfParts,
  itemOf,
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
  const own = besideProgram(module);
  const installed = installing(module, notes);
  if (own === undefined) return installed;
  return `If ${own.path} is meant, ${own.call} sends it to the worker, and imports it there.${installed === PERHAPS ? "" : ` Else: ${installed}`}`;
}

const PERHAPS = "Is its name right?";

function installing(module: string, notes: readonly string[]): string {
  // Of a name with dots, all but the end was found.
  const known = packageOf(module) ?? (/^\w+$/.test(module) ? module.replaceAll("_", "-") : undefined);
  const near = notes.some((note) => note.startsWith(NEARLY));
  if (known === undefined || near) return PERHAPS;
  const asked = packageOf(module) === undefined ? `${PERHAPS} If so, ` : "";
  const start = (text: string): string => (asked === "" ? text : asked + text[0]!.toLowerCase() + text.slice(1));
  if (notes.includes(MANAGED))
    return `${asked}npx torchwire add ${known} installs it, for this project (with --ssh HOST where the worker is on another machine).`;
  if (notes.includes(IMAGE))
    return start(
      `It is built into the container's image by its argument PACKAGES: --build-arg PACKAGES=${known} (docs/container.md).`,
    );
  return start(`Install ${known} into the worker's Python, whose folder is worker.import("sys").prefix.`);
}

/** JavaScript's names of what containers have, and Python's way to it. */
const IN_PYTHON: ReadonlyMap<string, string> = new Map(
  Object.entries({
    "length size": "its length is await py.len(x)",
    "at item get": "an item is x[0], or py.at(x, index); the last one is py.at(x, -1)",
    "has includes": 'await py.op("in", item, x) tells whether it is there',
    set: "an item is set by py.setAt(x, index, value)",
    delete: "an item is deleted by py.delAt(x, index)",
    push: "an item is added by x.append(item)",
    "slice subarray": "a part is py.at(x, py.slice(start, stop))",
    "entries every filter find flatMap forEach join map reduce some toArray values":
      "its items come by for await (const item of x)",
  }).flatMap(([names, way]) => names.split(" ").map((name) => [name, way] as const)),
);

const LACKS = /^'(\w+)' object has no attribute '(\w+)'/;
/** The worker's words for a container that lacks an attribute. */
const CONTAINER = /^it is (?:an iterator$|an? \w+ (?:of \d+$|without keys$|with the (?:keys|fields) ))/;
const KEYS = / with the keys (.+)$/;

/** The keys of the dict that an error is about, as Python writes them. */
const keysIn = ({ notes }: PythonException): string | undefined =>
  notes.map((note) => KEYS.exec(note)?.[1]).find((found) => found !== undefined);

/** Whether the program asked for it itself, and no Python code did. */
const isAsked = ({ frames }: PythonException): boolean =>
  frames.every(({ name }) => name === "__getattr__" || name === "__getattribute__");

/** The program used a name that JavaScript's arrays and Maps have. */
function namedInJavaScript(exception: PythonException): string | undefined {
  const { type, message, notes } = exception;
  const [, holder, asked = ""] = LACKS.exec(message) ?? [];
  const way = IN_PYTHON.get(asked);
  if (type !== "AttributeError" || way === undefined || !isAsked(exception)) return undefined;
  if (keysIn(exception)?.startsWith(`'${asked}'`)) return undefined;
  const isContainer = notes.some((note) => CONTAINER.test(note));
  const isArray = holder === "Tensor" || holder === "Parameter" || holder === "ndarray";
  return isContainer || isArray ? `${asked} is a name of JavaScript's. In Python ${way}.` : undefined;
}

/** The program used a dict, or the output of a Hugging Face model, where it meant one of its values. */
function dictOfParts(exception: PythonException, operation: string): string | undefined {
  const { type, message, notes } = exception;
  const keys = keysIn(exception);
  const [, , asked] = LACKS.exec(message) ?? [];
  if (type === "AttributeError" && notes.some((note) => CONTAINER.test(note)) && asked !== undefined) {
    if (operation.endsWith(" = ...")) return `An item of a dict is set by its key: py.setAt(x, "${asked}", value).`;
    if (operation.startsWith("del ")) return `An item of a dict is deleted by its key: py.delAt(x, "${asked}").`;
  }
  if (type === "AttributeError" && keys !== undefined)
    return `The values of a dict are had by their keys: py.at(yhat, ${firstOf(keys)}).`;
  const isOperand =
    type === "TypeError" &&
    /must be Tensor, not (\w+\.)*\w*(dict|Dict|Output)\b|unsupported operand .*'(\w*[dD]ict|\w+Output)'/.test(message);
  if (!isOperand || notes.includes(WRITTEN_OUT)) return undefined;
  return `Outputs that are a dict have their tensors under keys: py.at(yhat, ${keys === undefined ? '"…"' : firstOf(keys)}).`;
}

/** The program used a tuple or a list where it meant one of its values. */
function listOfParts({ type, message, notes }: PythonException): string | undefined {
  const named = notes.map((note) => /^it is an? \w+ with the fields (\w+)/.exec(note)?.[1]).find(Boolean);
  if (type === "AttributeError" && named !== undefined) return `Its values have names: yhat.${named}.`;
  const kind =
    type === "AttributeError"
      ? /^'(tuple|list)' object has no attribute/.exec(message)?.[1]
      : type === "TypeError"
        ? /must be Tensor, not (tuple|list)\b/.exec(message)?.[1]
        : undefined;
  return kind && `A ${kind} has several values: take one of them, py.at(yhat, 0).`;
}

/** The program asked for an item of what has none, or by what is no index of it. */
function itemOf({ type, message, notes, frames }: PythonException): string | undefined {
  if (notes.some((note) => note.endsWith("and the index is text")))
    return "Its items are had by numbers, py.at(x, 0); what has a name is an attribute, x.name.";
  const holder = type === "TypeError" ? /^'([\w.]+)' object is not subscriptable/.exec(message)?.[1] : undefined;
  if (holder === undefined || frames.length > 0) return undefined;
  if (/^(?:builtin_function_or_method|method|function)$/.test(holder))
    return "It is a method: call it, as in x.values().";
  if (/^(?:generator|map|zip|filter|enumerate|(?:o?dict_|\w+_)?(?:keys|values|items|iterator))$/.test(holder))
    return 'Its items come by for await (const item of x); a list of them is worker.import("builtins").list(x).';
  return holder === "NoneType" ? undefined : "It has attributes and no items: x.name, or py.get(x, name).";
}

/** The first of the keys, as JavaScript writes it. */
function firstOf(keys: string): string {
  const text = /^'(.*?)'/.exec(keys)?.[1];
  if (text !== undefined) return `"${text}"`;
  return /^-?\d+/.exec(keys)?.[0] ?? '"…"';
}
