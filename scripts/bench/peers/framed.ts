// A yardstick: length-prefixed echo on Bun's own socket, as fast as a reader may still see what it does.
//
// Frames are found in place over the chunk. Each reply is encoded, header and payload, into one buffer for all
// connections, which is written once a chunk; a frame that is cut is gathered in a block that is used again, and goes
// back from there. A peer that does not read is not read from.

import type { Socket } from "bun";

const HEADER = 4;
const MAX_FRAME = 1 << 20;
/** More than a chunk of Bun's sockets: replies of one chunk fit. */
const OUTPUT_BYTES = 1 << 20;
const NOTHING = Buffer.alloc(0);

interface State {
  /** The beginning of a frame: its block, how much of it is there. */
  block: Buffer;
  gathered: number;
  unwritten: Buffer[];
}

const output = Buffer.allocUnsafeSlow(OUTPUT_BYTES);
const spare: Buffer[] = [];

function lengthAt(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at);
  if (length > MAX_FRAME) throw new RangeError(`frame of ${length} bytes is over the limit of ${MAX_FRAME}`);
  return length;
}

function write(socket: Socket<State>, bytes: Buffer): void {
  const { unwritten } = socket.data;
  const taken = unwritten.length > 0 ? 0 : Math.max(0, socket.write(bytes));
  if (taken === bytes.length) return;
  unwritten.push(Buffer.from(bytes.subarray(taken))); // `bytes` is used again
  socket.pause();
}

function drain(socket: Socket<State>): void {
  const waiting = socket.data.unwritten;
  socket.data.unwritten = [];
  for (const bytes of waiting) write(socket, bytes);
  if (socket.data.unwritten.length === 0) socket.resume();
}

/** Adds to the frame that is cut, answers it when it is whole; gives how much of `chunk` belonged to it. */
function gather(socket: Socket<State>, chunk: Buffer): number {
  const { data: state } = socket;
  let used = 0;
  if (state.gathered < HEADER) {
    used = chunk.copy(state.block, state.gathered, 0, HEADER - state.gathered);
    state.gathered += used;
    if (state.gathered < HEADER) return used;
  }
  const whole = HEADER + lengthAt(state.block, 0);
  const more = chunk.copy(state.block, state.gathered, used, used + whole - state.gathered);
  state.gathered += more;
  if (state.gathered === whole) {
    write(socket, state.block.subarray(0, whole));
    spare.push(state.block);
    state.block = NOTHING;
    state.gathered = 0;
  }
  return used + more;
}

function data(socket: Socket<State>, chunk: Buffer): void {
  let at = socket.data.gathered > 0 ? gather(socket, chunk) : 0;
  let encoded = 0;
  while (chunk.length - at >= HEADER) {
    const length = lengthAt(chunk, at);
    const end = at + HEADER + length;
    if (end > chunk.length) break;
    output.writeUInt32BE(length, encoded);
    chunk.copy(output, encoded + HEADER, at + HEADER, end);
    encoded += HEADER + length;
    at = end;
  }
  if (encoded > 0) write(socket, output.subarray(0, encoded));
  if (at === chunk.length) return;
  socket.data.block = spare.pop() ?? Buffer.allocUnsafeSlow(HEADER + MAX_FRAME);
  socket.data.gathered = chunk.copy(socket.data.block, 0, at);
}

const server = Bun.listen<State>({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    open: (socket) => void (socket.data = { block: NOTHING, gathered: 0, unwritten: [] }),
    data,
    drain,
    error: (socket) => socket.terminate(),
  },
});
process.stdout.write(`listening on 127.0.0.1:${server.port}\n`);
