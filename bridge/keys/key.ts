/** CURVE keys as people handle them: 40 characters of Z85, and the fingerprint by which two keys are compared. */

import { createHash, createPrivateKey, createPublicKey } from "node:crypto";

const z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/** The key's 32 bytes; undefined where `key` is not a key. */
export function bytesOfKey(key: unknown): Buffer | undefined {
  if (typeof key !== "string" || key.length !== 40) return undefined;
  const bytes = Buffer.alloc(32);
  for (let i = 0; i < 8; i++) {
    let word = 0;
    for (const character of key.slice(5 * i, 5 * i + 5)) {
      const digit = z85.indexOf(character);
      if (digit < 0) return undefined;
      word = word * 85 + digit;
    }
    // Five digits can hold larger numbers than four bytes can.
    if (word > 0xffffffff) return undefined;
    bytes.writeUInt32BE(word, 4 * i);
  }
  return bytes;
}

/** The bytes before the 32 bytes of a secret X25519 key (RFC 8410). */
const pkcs8 = Buffer.from("302e020100300506032b656e04220420", "hex");

/** Whether the two keys belong together. */
export function isPair(publicKey: string, secretKey: string): boolean {
  const [expected, secret] = [bytesOfKey(publicKey), bytesOfKey(secretKey)];
  if (expected === undefined || secret === undefined) return false;
  const key = createPrivateKey({ key: Buffer.concat([pkcs8, secret]), format: "der", type: "pkcs8" });
  return createPublicKey(key).export({ format: "jwk" }).x === expected.toString("base64url");
}

/**
 * The fingerprint of a public key, as ssh writes it: `SHA256:` and unpadded base64. The server's side shows the same.
 */
export function fingerprint(publicKey: string): string {
  const bytes = bytesOfKey(publicKey);
  if (bytes === undefined) throw new TypeError("not a key");
  return `SHA256:${createHash("sha256").update(bytes).digest("base64").replaceAll("=", "")}`;
}
