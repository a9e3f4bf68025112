/** Addresses of a worker elsewhere, as users write them. */
import { isIPv4 } from "node:net";

export interface Address {
  /** `tcp://host:port`. */
  readonly url: string;
  /** A name, an IPv4 address, or an IPv6 address in brackets. */
  readonly host: string;
  readonly port: number;
  readonly isLoopback: boolean;
}

/** Reads `tcp://host:port`; undefined for any other text. */
export function readAddress(text: string): Address | undefined {
  const [, host = "", digits = ""] = /^tcp:\/\/(\[[^\]\s,]+\]|[^:/[\]\s,]+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === "" || port < 1 || port > 65_535) return undefined;
  // (127.example.org is a name like any other.)
  const isLoopback = host === "localhost" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."));
  return { url: text, host, port, isLoopback };
}

/** The addresses of a worker's two ports: of data, and of control. */
export interface Place {
  readonly data: Address;
  readonly control: Address;
  /** Whether the second was said. Otherwise it is the next port. */
  readonly isSaid: boolean;
}

/** How the text of a place reads. */
export const placeForm =
  'as in tcp://gpu-box:5555, or, where the second port is not the next one, "tcp://gpu-box:30555,tcp://gpu-box:30556"';

/**
 * Reads `tcp://host:port`, or two of them with a comma between; `control` is a second one that was said elsewhere.
 * Undefined where one of them is no address, or there is no next port.
 */
export function readPlace(text: string, control?: string): Place | undefined {
  const [first = "", second = control, ...more] = text.split(",").map((part) => part.trim());
  const data = readAddress(first);
  if (data === undefined || more.length > 0) return undefined;
  const found = second === undefined ? next(data) : readAddress(second);
  return found && { data, control: found, isSaid: second !== undefined };
}

const next = ({ host, port }: Address): Address | undefined => readAddress(`tcp://${host}:${port + 1}`);

/** A place as errors name it: both addresses, where both were said. */
export const shownPlace = ({ data, control, isSaid }: Place): string =>
  isSaid ? `${data.url} (control: ${control.url})` : data.url;

/** Whether both lead to the same port. */
export const isSamePort = (one: Address, other: Address): boolean => one.host === other.host && one.port === other.port;
