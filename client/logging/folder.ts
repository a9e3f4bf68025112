/** The folder of a backend, and the files that the backend puts there beside its records. */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { TorchwireError } from "../../bridge/errors/errors.ts";
import { described } from "../options/keywords.ts";
import type { Loggable } from "./loggables.ts";
import { writeWhole } from "./whole-file.ts";

/** Makes the folder, so that a wrong path shows before a fit. Throws NOT_SAVED. */
export function madeFolder(what: string, folder: string): string {
  if (typeof folder !== "string" || folder === "")
    throw new TorchwireError("MISUSE", `${what}(${described(folder)}): it must be the path of a folder`);
  return saved(folder, () => void mkdirSync(folder, { recursive: true }), folder);
}

/** Puts an image, a sound or a file into `folder`, as `files/<tag>/<at>.png`, and returns that path. */
export function fileOf(folder: string, tag: string, at: number, loggable: Loggable): string | undefined {
  if (loggable.kind !== "image" && loggable.kind !== "audio" && loggable.kind !== "file") return undefined;
  const extension = { image: ".png", audio: ".wav", file: loggable.kind === "file" ? extname(loggable.name) : "" };
  const path = ["files", ...tag.split("/").map(safe), `${at}${extension[loggable.kind]}`].join("/");
  const target = join(folder, path);
  saved(dirname(target), () => void mkdirSync(dirname(target), { recursive: true }), target);
  writeWhole(target, (draft) => {
    if (loggable.kind === "file") copyFileSync(loggable.path, draft);
    else writeFileSync(draft, loggable.kind === "image" ? loggable.png : loggable.wav);
  });
  return path;
}

function saved<T>(path: string, write: () => void, result: T): T {
  try {
    write();
    return result;
  } catch (cause) {
    throw new TorchwireError("NOT_SAVED", `${path} cannot be written: ${(cause as Error).message}`, { cause });
  }
}

/** Makes a part of a tag into a file name that every system accepts. */
const safe = (part: string): string => part.replaceAll(/[^\w.-]+/g, "_").replace(/^\.*$/, "_");
