/** The program's own Python modules: what of them a worker has been sent, and how it imports them. */
import { inspect } from "node:util";
import { TorchwireError } from "../errors/errors.ts";
import { deep, locate as addLine } from "../errors/site.ts";
import type { Generation } from "../log/lane.ts";
import type { Log } from "../log/log.ts";
import { PyBytesLiteral } from "../reference/literals.ts";
import { inner, type Reference } from "../reference/ref.ts";
import { locate } from "./locate.ts";
import { readSources, type Source } from "./read.ts";

export interface ModuleOptions {
  /**
   * True: where a file has changed, the module is run anew, with all modules beside it that it imports. References to
   * the module as it was stay what they are. False (default): the module stays what it was, and Python warns.
   */
  readonly reload?: boolean;
}

export class Modules {
  readonly #log: Log;
  /** By name, what the worker was sent last. */
  readonly #sent = new Map<string, Source>();
  #load: Reference | undefined;
  /** The lanes of the batches that carried it. Where one of them failed, nothing counts as sent. */
  #lanes: Generation[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  import(path: string | URL, options: ModuleOptions): object {
    const { reload = false } = options;
    try {
      const unknown = Object.keys(options).find((name) => name !== "reload");
      if (unknown !== undefined)
        throw new TorchwireError("MISUSE", `worker.module has no option ${JSON.stringify(unknown)}; it has reload`);
      const sources = readSources(locate(path));
      if (typeof reload !== "boolean")
        throw new TorchwireError(
          "MISUSE",
          `worker.module: reload is true or false, not ${inspect(reload, { depth: 0 })}`,
        );
      if (this.#lanes.some((lane) => lane.failure !== undefined)) this.#forget();
      const changed = sources.filter((source) => this.#isNew(source));
      return deep(() => {
        const load = this.#load === undefined || changed.length > 0 ? this.#send(changed) : this.#load;
        return this.#log.call(load, [sources.map(({ name }) => name), reload]);
      });
    } catch (error) {
      if (error instanceof TorchwireError && error.code === "MISUSE") addLine(error);
      throw error;
    }
  }

  #isNew({ name, digest, path, real }: Source): boolean {
    const sent = this.#sent.get(name);
    if (sent === undefined) return true;
    if (sent.digest === digest) return false;
    if (sent.real === real) return true;
    throw new TorchwireError(
      "MISUSE",
      `worker.module: ${path} would be imported as ${name}, which is ${sent.path} in this worker already. Rename one of ` +
        "them, or put each into a package",
    );
  }

  /** The source goes in a lane of its own, so that it arrives even where the program's lane fails before it. */
  #send(sources: readonly Source[]): Reference {
    const log = this.#log;
    const [load, lane] = log.ambient.apart(() => {
      const helper = inner(log.import("torchwire_worker.helpers.sources"))!;
      log.callPath(helper, ["add"], [sources.map(wireOf)]);
      const load = this.#load ?? inner(log.get(helper, "load"))!;
      log.keep(load);
      return load;
    });
    this.#lanes = [...this.#lanes.filter(({ inFlight }) => inFlight > 0), lane];
    for (const source of sources) this.#sent.set(source.name, { ...source, files: [] });
    return (this.#load = load);
  }

  #forget(): void {
    this.#sent.clear();
    this.#lanes = [];
    this.#load = undefined;
  }
}

const wireOf = ({ name, path, files }: Source): unknown[] => [
  name,
  path,
  files.map((file) => [
    file.name,
    file.path,
    file.isPackage,
    file.bytes === undefined ? null : new PyBytesLiteral(file.bytes),
  ]),
];
