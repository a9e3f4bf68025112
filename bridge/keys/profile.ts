/** Profiles: for each worker elsewhere, its key and this user's own. Each is a file that nobody else can read. */

import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { lookAtOwners, octal, openReal, othersCanWrite, type Fault } from "../environment/owners.ts";
import { configDirectory } from "../environment/places.ts";
import { codeOf, isRecord, parseRecord } from "../environment/untyped.ts";
import { EnvironmentError, TorchwireError } from "../errors/errors.ts";
import { readAddress } from "../link/address.ts";
import { bytesOfKey, fingerprint, isPair } from "./key.ts";

export interface Profile {
  readonly name: string;
  readonly path: string;
  /** The worker's address, unless the program gives one. */
  readonly address: string | undefined;
  /** The address of its second port, where that is not the next one. It belongs to `address`. */
  readonly control?: string | undefined;
  readonly server: { readonly public: string };
  readonly client: { readonly public: string; readonly secret: string };
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The path of a profile, whether or not it exists. */
export function profilePath(name: string, env: NodeJS.ProcessEnv = process.env): string {
  // The name must not be a folder's, a hidden file's or an option's; the rule is the same on every system.
  if (!NAME.test(name))
    throw new TorchwireError(
      "MISUSE",
      `a profile cannot be named ${JSON.stringify(name)}: letters, digits, ".", "_" and "-" serve, a letter or a digit first`,
    );
  return join(configDirectory(env), "profiles", `${name}.json`);
}

/** Whether a profile of this name exists. An impossible name has none. */
export function hasProfile(name: string, env: NodeJS.ProcessEnv = process.env): boolean {
  return NAME.test(name) && existsSync(profilePath(name, env));
}

/** @throws EnvironmentError where the profile does not exist, others can read it, or its content is wrong. */
export function readProfile(name: string, env: NodeJS.ProcessEnv = process.env): Profile {
  const path = profilePath(name, env);
  const read = parseRecord(readPrivately(path, name));
  const broken = (what: string): never => {
    // The error never shows the content, which may be the secret.
    throw new EnvironmentError(`${path} is not a profile: ${what}. A new one in its place has new keys.`, {
      command: `npx torchwire keygen ${name} --force`,
    });
  };
  if (read === undefined) return broken("it is not a JSON object");
  const { address, control, server, client } = read;
  const key = (of: unknown, side: string, half: string): string => {
    const found = isRecord(of) ? of[half] : undefined;
    if (bytesOfKey(found) === undefined) broken(`${side}.${half} is not a key of 40 characters`);
    return found as string;
  };
  for (const [field, value] of Object.entries({ address, control }))
    if (value !== undefined && (typeof value !== "string" || readAddress(value) === undefined))
      broken(`${field} is not of the form tcp://host:port`);
  if (address === undefined && control !== undefined) broken("control is there, and address is not");
  const known = { public: key(server, "server", "public") };
  const own = { public: key(client, "client", "public"), secret: key(client, "client", "secret") };
  if (!isPair(own.public, own.secret)) broken("client.public and client.secret are no pair");
  return {
    name,
    path,
    address: address as string | undefined,
    control: control as string | undefined,
    server: known,
    client: own,
  };
}

/** Writes the whole file or nothing. @throws EnvironmentError where the profile exists and `force` is not set. */
export function writeProfile(
  { name, address, control, server, client }: Omit<Profile, "path">,
  { force = false, env = process.env }: { force?: boolean | undefined; env?: NodeJS.ProcessEnv | undefined } = {},
): string {
  const path = profilePath(name, env);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fault = othersCanWrite(dirname(path));
  if (fault !== undefined) throw notOurs(fault);
  const text = `${JSON.stringify({ address, control, server, client }, undefined, 2)}\n`;
  const draft = join(dirname(path), `.${name}.${process.pid}`);
  try {
    const file = openSync(draft, "wx", 0o600);
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    // A link, unlike a rename, never replaces a file that somebody else has just put there.
    if (force) renameSync(draft, path);
    else linkSync(draft, path);
  } catch (error) {
    throw codeOf(error) === "EEXIST" && !force ? isThere(path, name, env) : error;
  } finally {
    rmSync(draft, { force: true });
  }
  return path;
}

function isThere(path: string, name: string, env: NodeJS.ProcessEnv): EnvironmentError {
  let held = "";
  try {
    held = `, for the worker with the key ${fingerprint(readProfile(name, env).server.public)}`;
  } catch {
    // The existing file stays, whatever it is.
  }
  return new EnvironmentError(
    `there is a profile ${name}${held}: ${path}. Another name makes another one; to replace it, which locks this user out of that worker:`,
    { command: `npx torchwire keygen ${name} --force` },
  );
}

const notOurs = ({ why, command }: Fault): EnvironmentError =>
  new EnvironmentError(
    `${why}: it could make this client trust another worker, or have its secret key.`,
    command === undefined ? {} : { command },
  );

function readPrivately(path: string, name: string): string {
  let file;
  try {
    const looked = lookAtOwners(path);
    if ("fault" in looked) throw notOurs(looked.fault);
    file = openReal(looked.real);
  } catch (cause) {
    if (cause instanceof EnvironmentError) throw cause;
    if (codeOf(cause) === "ENOENT")
      throw new EnvironmentError(`there is no profile ${name}: ${path}`, {
        command: `npx torchwire keygen ${name}`,
        cause,
      });
    throw new EnvironmentError(`the profile ${path} cannot be read (${codeOf(cause)})`, { cause });
  }
  try {
    const found = fstatSync(file);
    const { mode, uid } = found;
    if (!found.isFile()) throw new EnvironmentError(`the profile ${path} is no file`);
    // Windows protects files by other means, and a user's folder there is the user's alone.
    if (process.platform !== "win32") {
      if (uid !== process.getuid?.())
        throw new EnvironmentError(`the profile ${path} belongs to another user`, {
          command: `npx torchwire keygen ${name} --force`,
        });
      if ((mode & 0o077) !== 0)
        throw new EnvironmentError(
          `others can get at the secret key in ${path} (mode ${octal(mode)}). If somebody may have read it, make new keys instead.`,
          { command: `chmod 600 ${path}` },
        );
    }
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}
