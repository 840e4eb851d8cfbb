// What has no program of its own: a Python server and client, and a WebSocket client, written into the folder of a run.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** A loop as people write it, with a thread for each client; the program has the socket itself, as inetd does it. */
const SERVER = `\
import socketserver, subprocess, sys

class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        subprocess.run([sys.argv[3]], stdin=self.request, stdout=self.request)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
`;

/** Sends while it receives, says that its input is over, and reads until the other side says so. */
const CLIENT = `\
import socket, sys, threading

peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))

def send():
    while data := sys.stdin.buffer.read1(65536) if sys.stdin else b"":
        peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)

threading.Thread(target=send, daemon=True).start()
while data := peer.recv(65536):
    sys.stdout.buffer.write(data)
`;

/** A line is a message; at the end of the input it closes, as websocat does, or waits for as many answers first. */
const WEBSOCKET = `\
const [url, ...flags] = process.argv.slice(2);
const socket = new WebSocket(url);
socket.binaryType = "arraybuffer";
const binary = flags.includes("--binary");
let sent = 0, ended = false, timer;
const leave = () => socket.close();
socket.onmessage = ({ data }) => {
  process.stdout.write(binary ? new Uint8Array(data) : data + "\\n");
  if (ended && flags.includes("--wait")) {
    clearTimeout(timer);
    timer = setTimeout(leave, !binary && --sent <= 0 ? 0 : 1000);
  } else sent--;
};
socket.onclose = ({ code }) => process.exit(code === 1000 || code === 1005 ? 0 : 1);
socket.onopen = async () => {
  if (binary) for await (const chunk of process.stdin) socket.send(chunk);
  else for await (const line of console) { socket.send(line); sent++; }
  ended = true;
  if (!flags.includes("--wait") || sent === 0 && !binary) leave();
  else timer = setTimeout(leave, 5000);
};
`;

/** The interpreter itself, not what chooses among several. */
function interpreter(): string {
  if (Bun.which("python3") === null) return "python3";
  const asked = Bun.spawnSync(["python3", "-c", "import os, sys; print(os.path.realpath(sys.executable))"]);
  return asked.stdout.toString().trim() || "python3";
}

export const python = { command: interpreter(), server: "server.py", client: "client.py" };
export const websocket = { client: "websocket.js" };

/** Programs for the rows: an answer that takes its time, one that heeds no signal, one that never stops talking. */
const PROGRAMS = {
  late: "#!/bin/sh\nread x\nsleep 3\necho late\n",
  stubborn: "#!/bin/sh\ntrap '' TERM INT HUP\nexec sleep 60\n",
};

export function writeHandMade(folder: string): void {
  writeFileSync(join(folder, python.server), SERVER);
  writeFileSync(join(folder, python.client), CLIENT);
  writeFileSync(join(folder, websocket.client), WEBSOCKET);
  for (const [name, text] of Object.entries(PROGRAMS)) {
    writeFileSync(join(folder, name), text, { mode: 0o755 });
  }
}
