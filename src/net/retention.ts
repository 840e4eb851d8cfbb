// What was sent and is not acknowledged yet, as it stood on the wire, so that it can be sent again over another connection.
//
// Kept in the runs in which it was written, copied once a run: a copy for each message would cost a tenth of the message
// (measured). Control frames in a run are not part of the conversation and are left out when it is sent again.

import { MAX_UNACKNOWLEDGED_BYTES, MAX_UNACKNOWLEDGED_FRAMES } from "../limits.ts";
import { HEADER_BYTES, writeHeader } from "../wire/frame.ts";

interface Run {
  bytes: Uint8Array;
  /** Payload frames in it. */
  frames: number;
}

export class Retention {
  /** Payload frames acknowledged, ever. */
  acknowledged = 0;
  /** Payload frames kept. */
  frames = 0;
  /** Bytes kept, headers and what is acknowledged of the first run included. */
  bytes = 0;
  /** Called when more is kept than {@link limit}, in bytes. */
  overflow: (() => void) | undefined;
  limit = Infinity;
  #runs: Run[] = [];
  /** How many payload frames of the first run are acknowledged. */
  #skip = 0;

  /** Keeps a copy of `bytes`: whole frames, `frames` of them payloads. */
  record(bytes: Uint8Array, frames: number): void {
    if (frames === 0) return;
    this.#keep({ bytes: new Uint8Array(bytes), frames }); // not `slice`: that of a Buffer is a view
  }

  /** Keeps one payload that goes nowhere for now, or that is too long for the run it belongs to. */
  add(payload: Uint8Array): void {
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    writeHeader(bytes, 0, payload.length);
    bytes.set(payload, HEADER_BYTES);
    this.#keep({ bytes, frames: 1 });
  }

  /** Is so much kept that nothing should be added? */
  get isFull(): boolean {
    return this.frames >= MAX_UNACKNOWLEDGED_FRAMES || this.bytes >= MAX_UNACKNOWLEDGED_BYTES;
  }

  /** The peer has `received` payload frames in all; false when that is more than were sent. */
  acknowledge(received: number): boolean {
    let news = received - this.acknowledged;
    if (news > this.frames) return false;
    if (news <= 0) return true; // old news
    this.acknowledged = received;
    this.frames -= news;
    news += this.#skip;
    let whole = 0;
    for (const { bytes, frames } of this.#runs) {
      if (news < frames) break;
      news -= frames;
      this.bytes -= bytes.length;
      whole++;
    }
    if (whole > 0) this.#runs.splice(0, whole);
    this.#skip = news;
    return true;
  }

  #keep(run: Run): void {
    this.#runs.push(run);
    this.frames += run.frames;
    this.bytes += run.bytes.length;
    if (this.bytes > this.limit) this.overflow?.();
  }

  /** Could a peer that has `received` payloads in all be served from here? */
  accepts(received: number): boolean {
    return received >= this.acknowledged && received <= this.acknowledged + this.frames;
  }

  /** Every payload frame that is not acknowledged, in order, header and all. */
  *unacknowledged(): Generator<Uint8Array> {
    let skip = this.#skip;
    for (const { bytes } of this.#runs) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let offset = 0; offset < bytes.length;) {
        const header = view.getUint32(offset);
        const isControl = header >= 0x80000000;
        const end = offset + HEADER_BYTES + (isControl ? header & 0xffff : header);
        if (!isControl && skip-- <= 0) yield bytes.subarray(offset, end);
        offset = end;
      }
    }
  }
}
