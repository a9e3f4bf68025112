/** Packages that a set-up is to add: which are left to install, and what is recorded of them. */

import { writePackages, type Packages, type Wanted } from "./packages.ts";
import { readRequirements } from "./package.ts";
import { normal, readRequirement, type Requirement } from "./requirement.ts";

/** What the Python half says of an environment. */
export interface Made {
  readonly executable: string;
  readonly created: boolean;
  /** What the project has from now on; absent where it wants none. */
  readonly packages?: Packages;
}

/** What is asked for, without what every environment has in the version that torchwire pins. */
export function requirementsToAdd(
  {
    add = [],
    requirements,
  }: { readonly add?: readonly string[] | undefined; readonly requirements?: string | undefined },
  tell: (line: string) => void,
): Requirement[] {
  const asked = add.map((text) => readRequirement(text));
  if (asked.length === 0) return [];
  const pinned = new Set(
    [...readRequirements(requirements).matchAll(/^([\w.-]+) *(?:==|@)/gm)].map(([, name]) => normal(name!)),
  );
  const there = asked.filter(({ name, bare }) => bare && pinned.has(name));
  for (const { name } of there) tell(`torchwire: ${name} is in every environment, in the version that torchwire pins`);
  return asked.filter((each) => !there.includes(each));
}

/** Records what the project has now, where that was still to be found. */
export function recorded(
  { executable, created, packages }: Made,
  wanted: Wanted | undefined,
): { executable: string; created: boolean } {
  if (wanted?.open === true && packages !== undefined) writePackages(wanted.file, packages);
  return { executable, created };
}
