/** What is asked for of a Python package, as pip and uv write it: `timm`, `timm>=1.0`, `timm[extra] @ https://…`. */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { EnvironmentError } from "../errors/errors.ts";
import { packageOf } from "../errors/modules.ts";
import { codeOf } from "./untyped.ts";

export interface Requirement {
  /** The package's name as indexes compare it: `torch-geometric`, however it was written. */
  readonly name: string;
  /** All that is asked, in one form: `timm[extra]>=1.0; python_version < "3.12"`. */
  readonly text: string;
  /** Any release will do. */
  readonly bare: boolean;
  /** It is installed everywhere, and from an index: a version says what was taken. */
  readonly hasVersion: boolean;
}

const form =
  /^(?<name>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)\s*(?<extras>\[[a-z0-9._,\s-]*\])?\s*(?:@\s*(?<url>\S+:\S+)|\(?(?<releases>(?:(?:[=!~]=|===|[<>]=?)\s*[\w.*+!-]+\s*,?\s*)*)\)?)\s*(?:;\s*(?<marker>[^;]+))?$/i;

/** @throws {EnvironmentError} It asks for no package, with what to write. `where` names the file, if it is from one. */
export function readRequirement(given: string, where?: string): Requirement {
  const text = given.trim();
  const at = where === undefined ? "" : ` (in ${where})`;
  const refuse = (why: string, instead?: string): never => {
    const command = instead === undefined ? {} : { command: `npx torchwire add ${quoted(instead)}` };
    throw new EnvironmentError(`${JSON.stringify(text)}${at} ${why}`, command);
  };
  // oxlint-disable-next-line no-control-regex
  const found = /[\u0000-\u001f\u007f]/.test(text) ? null : form.exec(text);
  if (found === null) return refuse(...faultOf(text));
  const { name: written = "", extras = "", url, releases = "", marker } = found.groups!;
  const module = packageOf(written);
  if (module !== undefined && module !== normal(written) && url === undefined)
    return refuse(`is not the name of its package, which is ${module}.`, module);
  const name = normal(written);
  const what = url === undefined ? releases.replaceAll(/\s/g, "").replace(/,$/, "") : ` @ ${url}`;
  const condition = marker === undefined ? "" : `${url === undefined ? "" : " "}; ${marker.trim()}`;
  return {
    name,
    text: `${name}${extras.replaceAll(/\s/g, "").toLowerCase()}${what}${condition}`,
    bare: `${extras}${what}${condition}` === "",
    hasVersion: url === undefined && marker === undefined,
  };
}

export const normal = (name: string): string => name.replaceAll(/[-_.]+/g, "-").toLowerCase();

/** For a shell. */
export const quoted = (text: string): string =>
  /^[\w.@:/=+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

/** Why a text asks for no package, and what does. */
function faultOf(text: string): [why: string, instead?: string] {
  const npm = /^([\w.-]+)@([\w.^~-]+)$/.exec(text);
  if (npm !== null) {
    const instead = /^\d[\w.]*$/.test(npm[2]!) ? `${npm[1]}==${npm[2]}` : npm[1]!;
    return [`has npm's form; a release of a Python package is asked for as ${instead}.`, instead];
  }
  if (text.startsWith("-"))
    return ["is an option. Indexes and the like are settings of uv and pip: docs/environment.md."];
  if (/^[\w+.-]+:\/\//.test(text)) return [`is an address without a name: write "NAME @ ${text}".`];
  if (/[\\/]|^\.|\.(whl|zip|gz|py)$/.test(text))
    return ['is a path. A package on this disk is named, too: write "NAME @ file:///the/whole/path".'];
  return ['asks for no Python package: write a name, and which releases will do if that matters, as in "timm>=1.0".'];
}

/** What is asked for in the lines of a requirements file, and of those that it includes. */
export function readRequirementsFile(path: string, onHashes: (path: string) => void = () => undefined): Requirement[] {
  const lines = textOf(path)
    .replaceAll(/\\\r?\n/g, " ")
    .split(/\r?\n/);
  let hashes = false;
  const found = lines.flatMap((whole, i) => {
    const line = whole.replace(/(^|\s)#.*$/, "").trim();
    const included = /^(?:-r|--requirement)[\s=]*(\S.*)$/.exec(line)?.[1];
    if (included !== undefined) return readRequirementsFile(resolve(dirname(path), included), onHashes);
    const bare = line.replaceAll(/\s--hash[=\s]\S+/g, "");
    hashes ||= bare !== line;
    return bare === "" ? [] : [readRequirement(bare, `${path}:${i + 1}`)];
  });
  if (hashes) onHashes(path);
  return found;
}

/** PowerShell writes UTF-16; both it and editors may begin with a byte order mark. */
function textOf(path: string): string {
  try {
    const bytes = readFileSync(path);
    const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : "utf-8";
    return new TextDecoder(encoding).decode(bytes);
  } catch (cause) {
    throw new EnvironmentError(`the list of packages ${resolve(path)} cannot be read (${codeOf(cause)}).`, { cause });
  }
}
