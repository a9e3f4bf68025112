/** Bytes on a port that are not ZeroMQ's, or only begin as such, from a seed. */
import type { Dice } from "../fixtures/dice.ts";
import { claim, command, greeting, property, ready } from "./zmtp.ts";

const ascii = (text: string): Buffer => Buffer.from(text, "latin1");

/** The bytes sent on one connection, all at once. */
export function notOurs(dice: Dice): Buffer {
  const made: (() => Uint8Array)[] = [
    () => ascii("GET / HTTP/1.1\r\nHost: worker\r\n\r\n"),
    () => ascii(`POST /${"x".repeat(dice.below(3000))} HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n`),
    () => ascii("SSH-2.0-OpenSSH_9.2\r\n"),
    // A TLS 1.3 ClientHello's head, and noise.
    () => Buffer.concat([Buffer.from("160301020001000 1fc0303".replaceAll(" ", ""), "hex"), dice.bytes(500)]),
    () => dice.bytes(dice.from(1, 2000)),
    // ZMTP 1.0, and 2.0, with a message.
    () => Buffer.concat([Buffer.from([1, 0, 3, 0]), ascii("hi")]),
    () => Buffer.concat([greeting().subarray(0, 10), Buffer.from([1, 5, 0, 0]), claim(0, 2), ascii("hi")]),
    () => greeting(dice.pick(["CURVE", "PLAIN", "GSSAPI", "NULL", "", "x".repeat(20)]), { asServer: dice.chance(0.5) }),
    () => greeting("NULL", { major: dice.pick([3, 4, 255]), minor: dice.below(256) }),
    () => greeting().subarray(0, dice.from(1, 63)),
    // Commands that are none, too long, too early, or lie about their parts.
    () => Buffer.concat([greeting(), command("READY", dice.bytes(dice.below(200)))]),
    () => Buffer.concat([greeting(), command("READY", property("Socket-Type", dice.bytes(dice.below(300))))]),
    () =>
      Buffer.concat([
        greeting(),
        command(dice.pick(["HELLO", "INITIATE", "ERROR", "SUBSCRIBE", "PING", "JOIN"]), dice.bytes(200)),
      ]),
    () =>
      Buffer.concat([
        greeting(),
        claim(dice.pick([0, 1, 4]), dice.pick([2 ** 16, 2 ** 30, 2n ** 63n, 2n ** 64n - 1n])),
      ]),
    () =>
      Buffer.concat([greeting(), ready, claim(dice.pick([0, 1, 4, 7, 255]), dice.pick([2 ** 16, 2 ** 31, 2n ** 63n]))]),
    () => Buffer.concat([greeting(), ready, command("PING", dice.bytes(dice.below(30)))]),
    // A keyed worker's first command has 200 bytes; its last can only be made with the keys.
    () => Buffer.concat([greeting("CURVE"), command("HELLO", Buffer.concat([Buffer.from([1, 0]), dice.bytes(192)]))]),
    () => Buffer.concat([greeting("CURVE"), command("INITIATE", dice.bytes(dice.from(100, 400)))]),
    () => Buffer.concat([greeting("CURVE"), claim(4, dice.pick([2 ** 20, 2 ** 31])), dice.bytes(1000)]),
  ];
  return Buffer.from(dice.pick(made)());
}
