// The socket of a connection whose kernel takes what a test says.

/** Takes of each write what `appetite` says next, in order, and then everything. */
export class Kernel {
  readonly remoteAddress = "127.0.0.1";
  readonly remotePort = 1;
  readonly taken: Buffer[] = [];
  appetite: number[] = [];

  write(bytes: Uint8Array, start: number, length: number): number {
    const count = Math.min(length, this.appetite.shift() ?? length);
    this.taken.push(Buffer.from(bytes.subarray(start, start + count)));
    return count;
  }

  pause(): void {}
  resume(): void {}
  terminate(): void {}
  end(): void {}
  shutdown(): void {}
}
