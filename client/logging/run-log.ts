/** metrics.jsonl and checkpoints.jsonl in the folder of a run. */
import { basename, join } from "node:path";
import type { DeepReadonly, State } from "../callback/access.ts";
import type { KeptState } from "../callback/callback.ts";
import type { Checkpoint } from "../training/state.ts";
import type { Ending } from "../training/report.ts";
import { jsonLine } from "./json.ts";
import { RecordFile } from "./record-file.ts";
import { Unlogged } from "./unlogged.ts";

type Histories = DeepReadonly<Pick<State, "history" | "metricsStep" | "metricsEpoch">>;

interface EpochUnderWay {
  readonly epoch: number;
  /** The samples of all earlier epochs of the phase. */
  readonly samples: number;
  readonly started: number;
  isCancelled: boolean;
}

export class RunLog {
  readonly #freq: number;
  readonly #metrics: RecordFile;
  readonly #checkpoints: RecordFile;
  readonly #epochs = new Unlogged();
  /** The current epoch of each phase. */
  readonly #underWay = new Map<string, EpochUnderWay>();
  /** Checkpoints that have been reported. */
  readonly #told = new Set<string>();
  #files: readonly Checkpoint[] = [];

  /** `freq`: every `freq`-th step of a phase gets a line. */
  constructor(path: string, freq: number) {
    this.#freq = freq;
    this.#metrics = new RecordFile(join(path, "metrics.jsonl"), { isText: true });
    this.#checkpoints = new RecordFile(join(path, "checkpoints.jsonl"), { isText: true });
  }

  /** Skips the present state: it does not belong to this run. */
  skip({ metricsEpoch = {}, checkpoints = [] }: Partial<State>): void {
    for (const [phase, history] of Object.entries(metricsEpoch)) this.#epochs.take(phase, history);
    for (const one of checkpoints) this.#told.add(keyOf(one));
  }

  readonly state: KeptState = {
    save: () => ({
      metrics: this.#metrics.state.save(),
      checkpoints: this.#checkpoints.state.save(),
      epochs: this.#epochs.state.save(),
      underWay: [...this.#underWay].map(([phase, { started, ...one }]) => [phase, one, performance.now() - started]),
      told: this.#told,
    }),
    load: async ({ metrics, checkpoints, epochs, underWay, told }) => {
      await this.#metrics.state.load(metrics);
      await this.#checkpoints.state.load(checkpoints);
      await this.#epochs.state.load(epochs);
      this.#underWay.clear();
      for (const [phase, one, passed] of underWay)
        this.#underWay.set(phase, { ...one, started: performance.now() - passed });
      this.#told.clear();
      for (const key of told) this.#told.add(key);
      this.#files = [];
    },
  };

  fitBegin(epochs: number | undefined): void {
    this.#write("fitBegin", { epochs });
  }

  epochBegin(phase: string, epoch: number, { history }: Histories): void {
    const { samples = 0 } = history[phase] ?? {};
    this.#underWay.set(phase, { epoch, samples, started: performance.now(), isCancelled: false });
  }

  stepEnd(phase: string, epoch: number, { history, metricsStep }: Histories): void {
    const { steps: step } = history[phase]!;
    if ((step - 1) % this.#freq !== 0) return;
    const last = Object.entries(metricsStep[phase] ?? {}).map(([name, values]) => [name, values.at(-1)] as const);
    const own = last.flatMap(([name, value]) => (value?.at === step ? [[name, value.value]] : []));
    this.#write("step", { phase, epoch, step, metrics: Object.fromEntries(own) as object });
  }

  epochCancelled(phase: string): void {
    const underWay = this.#underWay.get(phase);
    if (underWay !== undefined) underWay.isCancelled = true;
  }

  /** Also called for a part of an epoch, where the fit ended in it. */
  epochEnd(phase: string, { history, metricsEpoch }: Histories, isWhole = true): void {
    const metrics = [...this.#epochs.take(phase, metricsEpoch[phase]).values()];
    const underWay = this.#underWay.get(phase);
    if (underWay === undefined) return;
    this.#underWay.delete(phase);
    const { epoch, samples: before, started, isCancelled } = underWay;
    const { stepsEpoch: steps, samples } = history[phase] ?? { stepsEpoch: 0, samples: 0 };
    this.#write("epoch", {
      phase,
      epoch,
      isWhole: isWhole && !isCancelled,
      steps,
      samples: samples - before,
      seconds: Math.round(performance.now() - started) / 1000,
      metrics: Object.assign({}, ...metrics) as object,
    });
  }

  fitEnd({ status, reason, by }: Ending, histories: Histories): void {
    for (const phase of this.#underWay.keys()) this.epochEnd(phase, histories, false);
    this.#write("fitEnd", { status, reason, by });
  }

  /** Reports each of the existing `files` once. */
  checkpoints(files: readonly Checkpoint[] = []): void {
    // The array is a new one whenever it has changed.
    if (files === this.#files) return;
    for (const one of files) {
      if (this.#told.has(keyOf(one))) continue;
      this.#checkpoints.write(jsonLine({ ...one, time: new Date(one.time).toISOString() }));
      // A checkpoint counts as reported only once its line is written.
      this.#told.add(keyOf(one));
    }
    this.#files = files;
  }

  #write(type: string, line: object): void {
    this.#metrics.write(jsonLine({ type, time: new Date().toISOString(), ...line }));
  }
}

/** The folder may have moved. */
const keyOf = ({ path, time }: Checkpoint): string => `${basename(path)} ${time}`;
