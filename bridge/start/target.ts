/** Where a worker elsewhere is, and by which keys it is spoken to. */
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { codeOf } from "../environment/untyped.ts";
import { TorchwireError } from "../errors/errors.ts";
import { hasProfile, readProfile, type Profile } from "../keys/profile.ts";
import { isSamePort, placeForm, readAddress, readPlace, type Address, type Place } from "../link/address.ts";
import type { Endpoints } from "../link/link.ts";

export interface Target extends Place {
  readonly profile: Profile | undefined;
}

interface Asked {
  /** One address, or two with a comma between. */
  readonly address: string | undefined;
  /** The second address, by itself. */
  readonly control: string | undefined;
  readonly known: Profile | undefined;
}

/** @throws MISUSE where an address is missing or none; REFUSED where a machine elsewhere has no keys here. */
export function targetOf({ address, control, known }: Asked): Target {
  const text = address ?? known?.address;
  if (text === undefined)
    throw misuse(
      'no address was given, TORCHWIRE_WORKER is not set, and no profile that has one is named; as in connectWorker("tcp://gpu-box:5555")',
    );
  const place = placeOf(text, control);
  // A profile's second address belongs to its first.
  const completed = (profile: Profile): Target => {
    const { address: own, control: second } = profile;
    const isIts = own !== undefined && isSamePort(readAddress(own)!, place.data);
    return !place.isSaid && isIts && second !== undefined
      ? { ...placeOf(place.data.url, second), profile }
      : { ...place, profile };
  };
  if (known !== undefined) return completed(known);
  const elsewhere = [place.data, place.control].find(({ isLoopback }) => !isLoopback);
  return elsewhere === undefined ? { ...place, profile: undefined } : completed(profileOf(elsewhere));
}

function placeOf(text: string, control: string | undefined): Place {
  if (control !== undefined && readAddress(control) === undefined)
    throw misuse(`control is ${JSON.stringify(control)}, not an address as in "tcp://gpu-box:30556"`);
  if (control !== undefined && text.includes(","))
    throw misuse(`the second address is said twice: in ${JSON.stringify(text)}, and as control: "${control}"`);
  const place = readPlace(text, control);
  if (place === undefined) throw misuse(`the address is ${JSON.stringify(text)}, not one ${placeForm}`);
  if (isSamePort(place.data, place.control))
    throw misuse(`both addresses are ${place.data.url}: a worker has two ports, one for data and one for control`);
  return place;
}

const misuse = (what: string): TorchwireError => new TorchwireError("MISUSE", `connectWorker: ${what}`);

/** The profile with the keys for a host elsewhere. */
function profileOf({ host }: Address): Profile {
  if (hasProfile(host)) return readProfile(host);
  throw new TorchwireError(
    "REFUSED",
    `there are no keys for ${host}: a worker elsewhere is spoken to only encrypted, by keys that know each other. ` +
      `Make them with: npx torchwire keygen ${host}\nor name the profile that has them: connectWorker(address, { profile: "…" }), or TORCHWIRE_PROFILE.`,
  );
}

/**
 * The endpoints by number. libzmq would look a name up on the one thread that carries all links of this process, and
 * hold them up meanwhile.
 */
export async function endpointsOf({ data, control }: Place, patience: number): Promise<Endpoints> {
  const numberOfData = numberOf(data, patience);
  const numbers = await Promise.all([
    numberOfData,
    control.host === data.host ? numberOfData : numberOf(control, patience),
  ]);
  return { data: `tcp://${numbers[0]}:${data.port}`, control: `tcp://${numbers[1]}:${control.port}` };
}

async function numberOf({ url, host }: Address, patience: number): Promise<string> {
  if (host.startsWith("[") || isIPv4(host)) return host;
  const noMachine = (why: string): TorchwireError =>
    new TorchwireError("UNREACHABLE", `${url}: no machine of the name ${host} is known: ${why}`);
  const stop = new AbortController();
  try {
    const addresses = await Promise.race([
      lookup(host, { all: true }),
      delay(patience, undefined, { signal: stop.signal }),
    ]);
    if (addresses === undefined)
      throw noMachine(`no answer within ${patience / 1000} s to the question which address it has`);
    const { address, family } = addresses.find((each) => each.family === 4) ?? addresses[0]!;
    return family === 4 ? address : `[${address}]`;
  } catch (error) {
    throw error instanceof TorchwireError ? error : noMachine(codeOf(error) || String(error));
  } finally {
    stop.abort();
  }
}
