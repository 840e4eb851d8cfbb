// The kinds of values that flags take: durations, sizes, numbers, networks. A kind parses the text of its flag, or throws an error
// that shows a valid text.

import { Cidr } from "./address.ts";
import { usageError } from "./errors.ts";
import { parseDuration, parseSize } from "./units.ts";

export interface Kind<Value> {
  /** The placeholder of the value in `--help`. */
  readonly hint?: string;
  /** The only valid texts; `--help` shows them, and parsing the arguments checks them. */
  readonly choices?: readonly string[];
  /** True when the flag may be repeated: `read` gets all its texts. For other flags it gets one. */
  readonly isList?: boolean;
  /** @param flag how an error names the flag, such as `--port`. @throws {ParleyError} `usage`. */
  read(flag: string, ...texts: string[]): Value;
}

/** A timer counts in 31 bits. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/** Milliseconds, at least `min`. */
export function duration(min = 1): Kind<number> {
  return {
    hint: "TIME",
    read(flag, text) {
      const value = parseDuration(text);
      if (value !== undefined && value >= min && value <= MAX_DURATION_MS) return value;
      if (value === 0) throw usageError(`${flag}: ${text} is too short`);
      throw wrong(flag, "duration", text, "use a duration such as 500ms, 30s, 5m, 2h or 7d");
    },
  };
}

/** Bytes, from `min` to `max`. */
export function size(min: number, max: number): Kind<number> {
  return {
    hint: "SIZE",
    read(flag, text) {
      const value = parseSize(text);
      if (value === undefined)
        throw wrong(flag, "size", text, "use a number of bytes, or a size such as 64kb or 1mb");
      if (value >= min && value <= max) return value;
      throw usageError(`${flag}: ${text} is out of range (${min} to ${max} bytes)`);
    },
  };
}

/** A whole number from `min` to `max`. */
export function count(min: number, max: number): Kind<number> {
  return {
    hint: "N",
    read(flag, text) {
      const value = Number(text);
      if (/^\d+$/.test(text) && value >= min && value <= max) return value;
      throw wrong(flag, "number", text, `use a whole number from ${min} to ${max}`);
    },
  };
}

/** `on` or `off`. */
export const onOff: Kind<boolean> = { choices: ["on", "off"], read: (_, text) => text === "on" };

/** Networks, one for each time that the flag is given. */
export const networks: Kind<readonly Cidr[]> = {
  hint: "CIDR",
  isList: true,
  read: (flag, ...texts) =>
    texts.map((text) => {
      const network = Cidr.parse(text);
      if (network !== undefined) return network;
      throw wrong(flag, "network", text, "use an address, or a network such as 10.0.0.0/8");
    }),
};

/** The error for a value that the flag does not accept. `noun` is the kind of the value. */
export function wrong(flag: string, noun: string, text: string, hint: string): Error {
  return usageError(`${flag}: invalid ${noun} ${JSON.stringify(text)}`, hint);
}
