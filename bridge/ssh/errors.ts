/** Errors of ssh, by its words. */
import type { HalfFailure } from "../environment/order.ts";
import { EnvironmentError, TorchwireError, type ErrorCode } from "../errors/errors.ts";
import type { SshEnd, SshTarget } from "./far.ts";

export const nameOf = (target: SshTarget): string => (typeof target === "string" ? target : target.join(" "));

/** The error for what a Python half says that is missing on its machine. */
export function farError({ code, message, command }: HalfFailure, target: SshTarget): TorchwireError {
  if (code !== "ENVIRONMENT") return new TorchwireError(code, message);
  if (command === undefined || command === null) return new EnvironmentError(message);
  // The set-up of that machine is run from here.
  const ssh = typeof target === "string" ? ` ${target}` : `="${nameOf(target)}"`;
  return new EnvironmentError(message, {
    command: command.replace(/^npx torchwire (setup|add)/, `npx torchwire $1 --ssh${ssh}`),
  });
}

/** The error where ssh ended before the far side had said anything. */
export function sshError(target: SshTarget, { code, signal, said, silent }: SshEnd, more = ""): TorchwireError {
  const name = nameOf(target);
  const text = said.join("\n");
  const quoted = said.length === 0 ? "" : ` ssh said:\n${said.map((line) => `    ${line}`).join("\n")}`;
  if (silent === true)
    return new EnvironmentError(
      `ssh to ${name} has not come to start anything there: nothing was heard for half a minute. A start file of that user's (.bashrc, .profile, .zshenv and the ` +
        `like) that reads standard input, or waits for something else, does this; so does a login that takes so long. This must end by itself, without a key being ` +
        `pressed: ssh ${name} true${quoted}`,
    );
  // (127 is the code of a shell that does not find a program. The words of shells differ.)
  if (code === 127)
    return new EnvironmentError(
      `${name} has no python3 on the PATH of a command that ssh runs there (ssh ${name} 'command -v python3'). Install one, or name one of that machine by the option python.${quoted}`,
    );
  if (code !== 255 && signal === undefined)
    return new EnvironmentError(`ssh reached ${name}, but what it was to run there ended with code ${code}.${quoted}`);
  const [, kind, why] = meanings.find(([pattern]) => pattern.test(text)) ?? [
    undefined,
    "UNREACHABLE" as const,
    signal === undefined ? "failed" : `was ended by ${signal}`,
  ];
  return new TorchwireError(
    kind,
    `ssh to ${name} ${why}.${more}${quoted}\nThis must work without a question: ssh ${name} true`,
  );
}

/** The error where ssh works, but its tunnel does not. */
export function noTunnel(target: SshTarget, said: readonly string[]): TorchwireError {
  const name = nameOf(target);
  const quoted = said.length === 0 ? "" : ` ssh said:\n${said.map((line) => `    ${line}`).join("\n")}`;
  return new TorchwireError(
    "REFUSED",
    `ssh to ${name} works, but does not forward Unix sockets, which the worker is reached through. Its sshd_config there must not forbid it ` +
      `(AllowStreamLocalForwarding, AllowTcpForwarding, DisableForwarding), nor the key's line in authorized_keys (restrict, no-port-forwarding).${quoted}`,
  );
}

/** The meanings of OpenSSH's words, which it does not translate. The first that fits counts. */
const meanings: readonly (readonly [pattern: RegExp, code: ErrorCode, why: string])[] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    "REFUSED",
    "found another host key than the one that is known: it may not be that machine",
  ],
  [
    /Host key verification failed/,
    "REFUSED",
    "does not know the host's key yet: connect once by hand, and compare its fingerprint",
  ],
  [
    /Permission denied|Too many authentication failures/,
    "REFUSED",
    "was not let in: the key is not accepted there, or needs a passphrase that no ssh-agent has",
  ],
  [
    /Could not resolve hostname/,
    "UNREACHABLE",
    "found no host of that name: neither ~/.ssh/config nor the network knows it",
  ],
  [/Connection refused/, "UNREACHABLE", "found the machine, but no ssh server on it: is sshd running, on that port?"],
  [
    /timed out|No route to host|Network is unreachable|Host is down/,
    "UNREACHABLE",
    "got no answer: is the machine on, and its network reachable from here?",
  ],
  [/Connection (closed|reset) by|kex_exchange_identification/, "UNREACHABLE", "was cut off by the other side"],
];
