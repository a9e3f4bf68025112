import { readRequirement } from "../../../bridge/environment/requirement.ts";
import { EnvironmentError } from "../../../bridge/errors/errors.ts";
import type { Cases } from "../given.ts";

/** What `npx torchwire add` prints for this argument. */
function printed(asked: string): string {
  try {
    readRequirement(asked);
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    return `$ npx torchwire add '${asked}'\n${error.message}`;
  }
  return "";
}

/** On the command line, which has no line of TypeScript to name. */
export const packages: Cases = {
  "a module's name in place of its package's": () => printed("sklearn"),
  "a release as npm writes it": () => printed("timm@1.0.9"),
  "a path in place of a package": () => printed("./dist/nets-1.0.whl"),
  "an address without a name": () => printed("https://example.org/nets-1.0.whl"),
  "an option of pip": () => printed("--pre"),
  "words that name no package": () => printed("hugging face"),
};
