/** One-line changes to the source, each of which would be a bug, and the test that notices it. */

export interface Mutant {
  readonly title: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly from: string;
  readonly to: string;
  readonly test: Killer;
}

/** A test by its file and its full name, or the beginning of that; of pytest, by its function's name. */
export interface Killer {
  readonly file: string;
  readonly name: string;
}

const by = (file: string, name: string): Killer => ({ file, name });

const MECHANISM = by(
  "test/learner-mechanism.test.ts",
  "the operations are those of the loop that one writes by hand, on the wire, batch for batch with accumulation",
);
const PARITY = by("test/learner-parity.test.ts", "the bits are the same in fits of one epoch and of two");

export const mutants: readonly Mutant[] = [
  // The formats, and what is sent.
  {
    title: "permute dropped",
    file: "client/formats/axes.ts",
    from: "return order.length === 0 ? x : x.permute(...order);",
    to: "return x;",
    test: by("test/pure/formats.test.ts", "operations of images are those that one would have written"),
  },
  {
    title: "inverse permutation is the permutation",
    file: "client/formats/axes.ts",
    from: "axes.map((_, i) => axes.indexOf(i));",
    to: "[...axes];",
    test: by("test/formats.test.ts", "in a worker there and back, channelsLast: false"),
  },
  {
    title: "uint8 normalised twice",
    file: "client/formats/pixels.ts",
    from: "y = y.float().div(255);",
    to: "y = y.float().div(255).div(255);",
    test: by("test/pure/formats.test.ts", "operations of images are those that one would have written"),
  },
  {
    title: "EXIF orientation ignored",
    file: "client/data/decode.ts",
    from: ".rotate().removeAlpha()",
    to: ".removeAlpha()",
    test: by("test/image-pixels.test.ts", "pixels EXIF orientation 6 is turned upright"),
  },
  {
    title: "float option sent as int",
    file: "client/keywords.ts",
    from: 'typeof value === "number" ? py.float(value) : isReference(value)',
    to: 'typeof value === "number" ? value : isReference(value)',
    test: by("test/optim.test.ts", "in a worker PyTorch's defaults are PyTorch's, and floats arrive as floats"),
  },
  {
    title: "an array is sent as it lies, without a copy",
    file: "bridge/frame-pool.ts",
    from: "if (buffer === undefined) return new Uint8Array(bytes);",
    to: "if (buffer === undefined) return bytes;",
    test: by("test/pure/wire.test.ts", "an argument an array on its way is a copy"),
  },
  {
    title: "dtype check gone",
    file: "client/formats/pixels.ts",
    from: 'if (dtype !== "uint8" && dtype !== "float32" && dtype !== "float64")',
    to: 'if (dtype === "bool")',
    test: by("test/pure/formats.test.ts", "what is refused before anything is sent pixels that are int32"),
  },
  {
    title: "kw ignored",
    file: "python/torchwire_worker/executor.py",
    from: "target(*map(decode, op.args), **kwargs)",
    to: "target(*map(decode, op.args))",
    test: by("test/references.test.ts", "calls kw passes by name"),
  },
  // Data.
  {
    title: "xs and ys swapped",
    file: "client/data/batches.ts",
    from: "yield { xs: copyOf(xs, which), ys: copyOf(ys, which) };",
    to: "yield { xs: copyOf(ys, which), ys: copyOf(xs, which) };",
    test: by("test/batches.test.ts", "batches keeps the order of the data"),
  },
  {
    title: "drop-last ignored",
    file: "client/data/batches.ts",
    from: "return dropLast ? Math.floor(rows / batchSize) : Math.ceil(rows / batchSize);",
    to: "return Math.ceil(rows / batchSize);",
    test: by("test/loader.test.ts", "samples are read not at all that `dropLast` leaves out"),
  },
  {
    title: "shuffle seed ignored",
    file: "client/data/shuffle.ts",
    from: "const low = seed >>> 0;",
    to: "const low = 0;",
    test: by("test/batches.test.ts", "permutation of"),
  },
  {
    title: "every epoch has the same order",
    file: "client/data/loader.ts",
    from: "return this.#shuffle ? permutation(this.samples, seed, epoch) : undefined;",
    to: "return this.#shuffle ? permutation(this.samples, seed) : undefined;",
    test: by("test/loader.test.ts", "a pass over arrays is the next epoch's order each time"),
  },
  {
    title: "lent memory is used again before the worker has it",
    file: "bridge/lend.ts",
    from: "if (loan === undefined || !loan.sent || loan.underway > 0) return undefined;",
    to: "if (loan === undefined) return undefined;",
    test: by("test/lend.test.ts", "with a worker what arrives is right over many steps of a slow worker"),
  },
  // The loop.
  {
    title: "gradients not zeroed",
    file: "client/phases.ts",
    from: "if (step.group.isFirst) learner.optimizer.zero_grad();",
    to: "",
    test: MECHANISM,
  },
  {
    title: "accumulated loss is a sum",
    file: "client/phases.ts",
    from: "(size === 1 ? loss : loss.div(size));",
    to: "loss;",
    test: MECHANISM,
  },
  {
    title: "loss one ulp off",
    file: "client/phases.ts",
    from: "learner.backward(share(step.loss, step.group));",
    to: "learner.backward(share(step.loss, step.group).mul(1 + 2 ** -23));",
    test: PARITY,
  },
  {
    title: "random numbers not forked in validation",
    file: "client/phases.ts",
    from: 'eval: modules, rng: "fork" };',
    to: "eval: modules };",
    test: MECHANISM,
  },
  {
    title: "eval mode skipped in prediction",
    file: "client/predict.ts",
    from: 'worker.context({ mode: "inference", eval: [model], rng: "fork" }',
    to: 'worker.context({ mode: "inference", rng: "fork" }',
    test: by("test/predict.test.ts", "predict in eval mode and without gradients"),
  },
  {
    title: "window ignored",
    file: "client/run.ts",
    from: "while (this.#inFlight.length >= this.window) await this.#acknowledge();",
    to: "while (this.#inFlight.length >= 3) await this.#acknowledge();",
    test: by("test/learner-counts.test.ts", "the two clocks with a window of 1"),
  },
  {
    title: "a step acknowledged before it was executed",
    file: "client/pending.ts",
    from: "const loss = (await this.#loss) as number | undefined;",
    to: "const loss = this.#loss === undefined ? undefined : 0;",
    test: by("test/learner-misuse.test.ts", "a step that fails has its place a head that was not replaced"),
  },
  {
    title: "a step without a loss acknowledged before it was executed",
    file: "client/pending.ts",
    from: "await this.#done;",
    to: "",
    test: by("test/own-phases.test.ts", "a step without a loss counts when the worker has run it"),
  },
  {
    title: "a step counted twice",
    file: "client/callbacks/recorder.ts",
    from: "history.steps++;",
    to: "history.steps += 2;",
    test: by("test/learner.test.ts", "what happens, in order several fits in a row"),
  },
  {
    title: "mean of the loss not weighted by samples",
    file: "client/metrics/loss.ts",
    from: "average.add(loss, size);",
    to: "average.add(loss, 1);",
    test: by("test/predict.test.ts", "validate the loss of an epoch is the mean over samples"),
  },
  {
    title: "a row of the history lost",
    file: "client/callbacks/metrics.ts",
    from: "??= series()).push({ at, value });",
    to: "??= series())[0] = { at, value };",
    test: by("test/learner-counts.test.ts", "the two clocks metrics have each step's own values"),
  },
  {
    title: "cancel ignored",
    file: "client/run.ts",
    from: "throw cancelled;",
    to: "",
    test: by("test/learner.test.ts", "cancelling by control a step that is cancelled before the update makes none"),
  },
  {
    title: "a catch that swallows what a handler throws",
    file: "client/run.ts",
    from: "if (!(ending instanceof CancelEpoch)) throw ending;",
    to: "",
    test: by(
      "test/learner-misuse.test.ts",
      "a handler that throws is named, with the event, the phase and the step in line",
    ),
  },
  {
    title: "worker not given free after a fit",
    file: "client/claim.ts",
    from: "return () => holders.delete(worker);",
    to: "return () => true;",
    test: by("test/learner-misuse.test.ts", "starting a fit a second fit"),
  },
  {
    title: "a callback writes without access",
    file: "client/callback/protect.ts",
    from: 'typeof key === "string" && grants.get(key) === "write";',
    to: 'typeof key === "string";',
    test: by("test/callbacks.test.ts", "access at run time write allows everything below, and no more"),
  },
  {
    title: "NaN seen after the update",
    file: "client/callbacks/stop-on-nan-loss.ts",
    from: "backwardEnd: ({ step }) =>",
    to: "stepEnd: ({ step }) =>",
    test: by("test/learner.test.ts", "StopOnNaNLoss exact: the weights are those before the step"),
  },
  // Weights.
  {
    title: "safetensors offset wrong",
    file: "client/weights/header.ts",
    from: "const begin = dataBytes;",
    to: "const begin = dataBytes + 8;",
    test: by("test/safetensors.test.ts", "what is written is read again 200 random states"),
  },
  {
    title: "weights that do not fit are loaded",
    file: "client/weights/load.ts",
    from: "if (strict ? missing.length + unexpected.length + mismatched.length === 0 : !none) return;",
    to: "if (!none) return;",
    test: by("test/weights.test.ts", "what does not fit is said all at once"),
  },
  // The session.
  {
    title: "scope not ended",
    file: "bridge/log.ts",
    from: "if (ranges.length > 0) this.#releaseRanges(ranges);",
    to: "",
    test: by("test/references.test.ts", "the end of a reference a scope frees what was made in it"),
  },
  {
    title: "credit never returned",
    file: "bridge/session.ts",
    from: "this.#flying.operations -= batch.operations.length;",
    to: "",
    test: by("test/counts.test.ts", "credit a loop that awaits its scopes has no more than 10,000"),
  },
  {
    title: "a reference of another worker accepted",
    file: "bridge/log.ts",
    from: "if (reference.owner !== this)",
    to: "if (reference.owner === undefined)",
    test: by("test/references.test.ts", "another worker its references are refused"),
  },
  {
    title: "a released reference accepted",
    file: "bridge/log.ts",
    from: "if (reference.gone !== undefined)\n      throw",
    to: "if (reference.gone === null)\n      throw",
    test: by("test/references.test.ts", "the end of a reference a disposed reference says so"),
  },
  // The worker.
  {
    title: "run after an error",
    file: "python/torchwire_worker/executor.py",
    from: "if not self._lanes.is_closed(batch.lane, batch.generation):",
    to: "if True:",
    test: by("test/lanes.test.ts", "a failed operation stops its lane nothing that was written after it runs"),
  },
  {
    title: "generation ignored: a lane never opens again",
    file: "python/torchwire_worker/lanes.py",
    from: "if generation > failed:",
    to: "if generation < failed:",
    test: by(
      "test/lanes.test.ts",
      "lane 0 opens again when user code has been given the error what is written right after",
    ),
  },
  {
    title: "an error of Python swallowed",
    file: "python/torchwire_worker/executor.py",
    from: "                run.fail(error)",
    to: "                pass",
    test: by("test/lanes.test.ts", "a failed operation stops its lane an await of it gives Python's error"),
  },
  {
    title: "floats left where a message came to lie",
    file: "python/torchwire_worker/tensors.py",
    from: "else _ALIGNMENT):",
    to: "else size):",
    test: by("python/tests/test_values.py", "test_floats_are_aligned_as_torch_aligns_its_own"),
  },
  {
    title: "releases discarded",
    file: "python/torchwire_worker/executor.py",
    from: "elif type(op) is Release:",
    to: "elif False:",
    test: by("test/references.test.ts", "the end of a reference using frees it early"),
  },
  {
    title: "releases discarded after an error",
    file: "python/torchwire_worker/executor.py",
    from: "            if type(op) is Release:\n",
    to: "            if False:\n",
    test: by("test/lanes.test.ts", "what cleans up is never discarded a scope whose operation failed"),
  },
  {
    title: "eval mode skipped",
    file: "python/torchwire_worker/context.py",
    from: "    module.train(training)",
    to: "    pass",
    test: by("test/contexts.test.ts", "eval and train every part is in eval mode inside"),
  },
  {
    title: "context not left after an error",
    file: "python/torchwire_worker/context.py",
    from: "for part, mode in before:",
    to: "for part, mode in () if sys.exc_info()[1] else before:",
    test: by("test/contexts.test.ts", "eval and train an error inside gives each part its own mode back too"),
  },
  {
    title: "random numbers not given back",
    file: "python/torchwire_worker/context.py",
    from: "            _set_rng_state(outside)",
    to: "            pass",
    test: by("test/contexts.test.ts", "rng what is drawn inside a fork leaves the generators outside untouched"),
  },
  {
    title: "token not checked",
    file: "python/torchwire_worker/auth.py",
    from: "if not hmac.compare_digest(hello.token.encode(), token.encode()):",
    to: "if not hello:",
    test: by("test/strangers.test.ts", "a stranger on a worker's sockets, over ipc with the wrong token"),
  },
  {
    title: "header length unchecked",
    file: "python/torchwire_worker/wire.py",
    from: "if meta_bytes != len(head) - HEADER_BYTES:",
    to: "if meta_bytes < 0:",
    test: by("python/tests/test_wire.py", "test_a_message_is_refused"),
  },
  {
    title: "limit of operations gone",
    file: "python/torchwire_worker/ops.py",
    from: 'limits.check("ops", len(operations), "{} operations in a batch")',
    to: "pass",
    test: by("python/tests/test_wire.py", "test_a_batch_is_refused"),
  },

  // What callbacks add.
  {
    title: "gradients are clipped while they are scaled",
    file: "client/callbacks/pytorch-backend.ts",
    from: "this.#scaler?.unscale_(optimizer);",
    to: "",
    test: by("test/backend.test.ts", "fp16 with scaling and clipping has the bits of plain PyTorch"),
  },
  {
    title: "averages stay in the model after validation",
    file: "client/callbacks/averaged-weights.ts",
    from: "epochEnd: ({ phase, epoch }) => {\n            back();",
    to: "epochEnd: ({ phase, epoch }) => {",
    test: by("test/backend.test.ts", "EMA has the bits of plain PyTorch"),
  },
  {
    title: "one random draw for a whole batch",
    file: "python/torchwire_worker/helpers/augment.py",
    from: "return torch.stack([transform(x) for x in xs])",
    to: "return transform(xs)",
    test: by("test/backend.test.ts", "augmented has the bits of plain PyTorch"),
  },
  {
    title: "fitEnd is not told how it ended",
    file: "client/loop.ts",
    from: "this.moment.ending = ending;",
    to: "",
    test: by("test/learner-events.test.ts", "what did not come to its end a fit in mid-epoch"),
  },
  {
    title: "who resolves a conflict is asked one way only",
    file: "client/callback/graph.ts",
    from: "const theirs = other.resolveConflict?.(one);",
    to: "const theirs = undefined as Resolution | undefined;",
    test: by("test/callbacks.test.ts", "the order resolveConflict two that write the same"),
  },
  {
    title: "what is drawn by weight is the same in each epoch",
    file: "client/data/loader.ts",
    from: "return weightedSample(this.#weights, this.#count, seed, epoch);",
    to: "return weightedSample(this.#weights, this.#count, seed);",
    test: by("test/pure/sampling.test.ts", "a loader gives what is drawn"),
  },
];
