// A process that sends pings as fast as they are taken, and reads the answers, `pings.ts PORT`. Says `pinging` at the
// first answer.

import { connect } from "node:net";
import { frame } from "../peer.ts";

const BLOCK = Buffer.concat(Array.from({ length: 10_000 }, () => frame('{"type":"ping","n":1}', true)));

const socket = connect({ port: Number(process.argv[2]), host: "127.0.0.1" });
const go = () => {
  while (socket.write(BLOCK)) continue;
};
let heard = 0;
socket.on("data", (chunk: Buffer) => {
  // hello and welcome are shorter than the answers to a block.
  if (heard < 1000 && heard + chunk.length >= 1000) process.stdout.write("pinging\n");
  heard += chunk.length;
});
socket.on("error", () => undefined).on("drain", go);
socket.write(frame('{"type":"login","method":"none","control":true}'));
go();
