/**
 * Asks by plain TCP who answers at an address. A ZeroMQ socket never says why a connection does not come about. The
 * first bytes of ZMTP name the security of the other side, and need no key.
 */

import { connect, isIP } from "node:net";
import { codeOf } from "../environment/untyped.ts";

/**
 * "name": the name does not resolve. "refused": nobody listens. "silent": no answer in time. "closed": it hangs up.
 * "foreign": another protocol.
 */
export type Failure = "name" | "refused" | "unreachable" | "silent" | "closed" | "foreign";

export type Greeting = { readonly mechanism: string } | { readonly failure: Failure; readonly detail: string };

// ZMTP 3: signature, major version. Nothing more is said, so that the other side says all of its own: it might hang up
// once it hears our mechanism.
const opening = Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3]);
const mechanismEnds = 32;

/** Greets `address`, as in `tcp://host:port`. Never rejects: a failure is an answer too. */
export function readGreeting(address: string, timeout = 1500): Promise<Greeting> {
  const { hostname, port } = new URL(address.replace(/^tcp:/, "http:"));
  const host = hostname.replaceAll(/[[\]]/g, "");
  return new Promise((resolve) => {
    let heard = Buffer.alloc(0);
    let found = isIP(host) !== 0;
    let connected = false;
    const socket = connect({ host, port: Number(port || 80), noDelay: true });
    const end = (greeting: Greeting): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(greeting);
    };
    const fail = (failure: Failure, detail: string): void => end({ failure, detail });
    const timer = setTimeout(() => {
      const within = `within ${timeout / 1000} s`;
      if (connected) return fail("silent", `${address} takes a connection and says nothing ${within}`);
      if (found) return fail("silent", `no answer from ${address} ${within}`);
      fail("name", `no answer ${within} to the question which address ${host} has`);
    }, timeout);
    socket.on("lookup", (error) => {
      found = error === null;
    });
    socket.on("connect", () => {
      connected = true;
      socket.write(opening);
    });
    socket.on("data", (bytes) => {
      heard = Buffer.concat([heard, bytes]);
      const foreign =
        heard[0] !== 0xff || (heard.length > 9 && heard[9] !== 0x7f) || (heard.length > 10 && heard[10]! < 3);
      if (foreign) fail("foreign", `what answers at ${address} is not ZeroMQ`);
      else if (heard.length >= mechanismEnds)
        end({ mechanism: heard.toString("latin1", 12, mechanismEnds).replace(/\0.*$/s, "") });
    });
    socket.on("end", () => fail("closed", `${address} takes a connection and closes it at once`));
    socket.on("error", (error) => {
      const code = codeOf(error);
      if (code === "ECONNREFUSED") fail("refused", `nobody listens at ${address}`);
      else if (code === "ENOTFOUND" || code === "EAI_AGAIN") fail("name", `the name ${host} is not known (${code})`);
      else if (connected) fail("closed", `${address} takes a connection and closes it at once (${code})`);
      else fail("unreachable", `${address} cannot be reached (${code})`);
    });
  });
}
