// The framing of many courses, for bare frames: the length of the payload as N ASCII digits, then the payload.
//
//     0000000005hello    what parley writes, for N = 10
//     5         hello    also read: spaces before the digits, behind them, or both
//
// The length counts bytes, and not characters. Anything else in a header is `bad_length`: a sign, a letter, a line end, no digit.
// There are no control frames.

import { escapeBytes } from "../base/escape.ts";
import { plural } from "../base/plural.ts";
import { MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, type Framing } from "./frame.ts";

/** The most digits that a header may have. */
export const MAX_DIGITS = MAX_HEADER_BYTES;
const SPACE = 0x20;
const ZERO = 0x30;
/** Neither the length of a payload nor, as a number of 32 bits, a control frame or the escape. */
const INVALID = -2;

/** @param digits from 1 to {@link MAX_DIGITS}. */
export function decimalFraming(digits: number): Framing {
  const maxPayloadBytes = Math.min(10 ** digits - 1, MAX_PAYLOAD_BYTES);
  return {
    name: `decimal:${digits}`,
    headerBytes: digits,
    maxPayloadBytes,
    read: (bytes, offset) => readDecimal(bytes, offset, offset + digits),
    write(target, offset, length) {
      if (length > maxPayloadBytes) {
        const header = `a header of ${plural(digits, "digit")}`;
        throw new RangeError(`${header} holds a length of at most ${maxPayloadBytes}, not ${length}`);
      }
      let rest = length;
      for (let at = offset + digits - 1; at >= offset; at--) {
        target[at] = ZERO + (rest % 10);
        rest = Math.floor(rest / 10);
      }
    },
    explain(bytes, offset) {
      const shown = escapeBytes(bytes.subarray(offset, offset + digits));
      return `invalid frame header "${shown}" instead of a length in ${plural(digits, "digit")}`;
    },
  };
}

/** The number from `offset` to `end`, perhaps with spaces around it. */
function readDecimal(bytes: Uint8Array, offset: number, end: number): number {
  const first = skipSpaces(bytes, offset, end);
  let at = first;
  let value = 0;
  for (; at < end; at++) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) break;
    value = 10 * value + digit;
  }
  return at > first && skipSpaces(bytes, at, end) === end ? value : INVALID;
}

function skipSpaces(bytes: Uint8Array, offset: number, end: number): number {
  let at = offset;
  while (at < end && bytes[at] === SPACE) at++;
  return at;
}
