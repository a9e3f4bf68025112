/** `npx torchwire keygen`: makes both pairs of keys, this user's profile, and the half for the server. */

import { hostname, userInfo } from "node:os";
import { curveKeyPair } from "zeromq";
import { TorchwireError } from "../errors/errors.ts";
import { isSamePort, readAddress } from "../link/address.ts";
import { bytesOfKey, fingerprint } from "./key.ts";
import { profilePath, writeProfile } from "./profile.ts";

export interface KeygenOptions {
  /** The profile's name. */
  name: string;
  /** The public key of a server that has keys already. Only the client's keys are made then. */
  serverKey?: string | undefined;
  /** Default: `tcp://NAME:5555`. */
  address?: string | undefined;
  /** The address of the worker's second port. Default: the next port. */
  control?: string | undefined;
  /** The server's name for this client. Default: user@host. */
  as?: string | undefined;
  /** Replaces an existing profile. */
  force?: boolean | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

export interface Keys {
  /** The profile that was written. */
  path: string;
  address: string;
  /** The server's name for this client. */
  client: string;
  fingerprints: { server: string; client: string };
  /**
   * One line for `torchwire-worker authorize`. It holds the server's secret key, unless the server has keys already.
   */
  half: string;
}

export function keygen(options: KeygenOptions): Keys {
  const { name, serverKey, address = `tcp://${options.name}:5555`, control, as, force, env } = options;
  const misuse = (what: string): never => {
    throw new TorchwireError("MISUSE", `keygen: ${what}`);
  };
  // Check the name before it becomes part of an address.
  profilePath(name, env);
  // The error does not show the key: it may be a secret that was meant for elsewhere.
  if (serverKey !== undefined && bytesOfKey(serverKey) === undefined)
    misuse(
      "--server-key is not a public key of 40 characters; torchwire-worker authorize and clients show the server's",
    );
  const place = readAddress(address);
  if (place === undefined) return misuse(`the address is ${JSON.stringify(address)}, not of the form tcp://host:port`);
  const second = control === undefined ? undefined : readAddress(control);
  if (control !== undefined && (second === undefined || isSamePort(second, place)))
    misuse(
      `--control is ${JSON.stringify(control)}, not of the form tcp://host:port, with a port of its own: a worker has two`,
    );
  const client = as ?? userAtHost();
  if (!/^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/.test(client))
    misuse(`--as is ${JSON.stringify(client)}; letters, digits, ".", "_", "-" and "@" serve`);
  const own = curveKeyPair();
  const server = serverKey === undefined ? curveKeyPair() : { publicKey: serverKey };
  const path = writeProfile(
    {
      name,
      address,
      control,
      server: { public: server.publicKey },
      client: { public: own.publicKey, secret: own.secretKey },
    },
    { force, env },
  );
  const half = {
    torchwire: "authorize",
    client: { name: client, public: own.publicKey },
    server: { public: server.publicKey, ...("secretKey" in server ? { secret: server.secretKey } : {}) },
  };
  return {
    path,
    address,
    client,
    fingerprints: { server: fingerprint(server.publicKey), client: fingerprint(own.publicKey) },
    half: JSON.stringify(half),
  };
}

function userAtHost(): string {
  let user = "user";
  try {
    user = userInfo().username;
  } catch {
    // The user has no entry in passwd, as in some containers.
  }
  const plain = (text: string): string => text.replaceAll(/[^A-Za-z0-9._-]/g, "-");
  return `${plain(user)}@${plain(hostname())}`.replace(/^[^A-Za-z0-9]+/, "").slice(0, 128);
}
