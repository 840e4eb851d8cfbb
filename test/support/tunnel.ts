// `parley connect --listen` as a process, and with a service of another program behind `serve --to`, over a way that breaks.

import { join } from "node:path";
import { descriptors, until, within } from "./attack.ts";
import { cuttingProxy, type CuttingOptions, type CuttingProxy } from "./cutting-proxy.ts";
import { serve, start, type Running } from "./executable.ts";
import { local } from "./stream-service.ts";

export interface Tunnel extends Running {
  port: number;
  ready: Record<string, unknown>;
}

/** Starts `parley connect --listen` with its own data folder, and waits until it is ready. */
export async function listen(
  data: string,
  address: string,
  flags: string[] = [],
  env: Record<string, string> = {},
): Promise<Tunnel> {
  const where = flags.includes("--listen") ? [] : ["--listen", "0"];
  const running = start(["connect", address, "--json", ...where, ...flags], { data, env });
  try {
    await running.stdout.see(/"event":"forwarding".*\n/);
  } catch (error) {
    const said = running.stderr.text;
    await running[Symbol.asyncDispose]();
    throw new Error(`it is not ready: ${said}`, { cause: error });
  }
  const line = running.stdout.text.split("\n").find((text) => text.includes('"forwarding"')) ?? "";
  const ready = JSON.parse(line) as Record<string, unknown>;
  return Object.assign(running, { ready, port: Number(ready["port"]) });
}

export interface Outcome {
  exitCode: number;
  bytes: Buffer;
  errors: string;
}

/** Runs a program to its end, however it ends. */
export async function outcome(command: string[], stdin: Uint8Array | string = ""): Promise<Outcome> {
  const child = Bun.spawn(command, { stdin: Buffer.from(stdin), stdout: "pipe", stderr: "pipe" });
  try {
    const all = Promise.all([child.stdout.bytes(), child.stderr.text(), child.exited]);
    const [bytes, errors, exitCode] = await within(command.join(" "), all, 60_000);
    return { exitCode, bytes: Buffer.from(bytes), errors };
  } finally {
    child.kill("SIGKILL");
  }
}

/** Runs a program to its end; its output. */
export async function output(command: string[], stdin: Uint8Array | string = ""): Promise<Buffer> {
  const { exitCode, bytes, errors } = await outcome(command, stdin);
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}: ${errors}`);
  return bytes;
}

/** Starts a program, and waits until it accepts connections at `port`. */
export async function service(command: string[], port: number): Promise<AsyncDisposable> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const started = {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
  try {
    await until(command.join(" "), true, () =>
      local({ port }).then(
        (one) => (one[Symbol.dispose](), true),
        () => false,
      ),
    );
  } catch (error) {
    await started[Symbol.asyncDispose]();
    throw error;
  }
  return started;
}

export interface Through extends AsyncDisposable {
  proxy: CuttingProxy;
  tunnel: Tunnel;
  /** Fails when a connection has left something behind, or when an end is not as it should be. */
  stop(): Promise<void>;
}

/**
 * A tunnel with TLS to the service at `port`, whose connections are cut again and again. Its data is kept in `folder`.
 *
 * @param cuts `least` is more than a login takes: the server keeps a session whose `welcome` was lost for its client.
 */
export async function through(
  folder: string,
  port: number,
  cuts: Omit<CuttingOptions, "port">,
): Promise<Through> {
  await using stack = new AsyncDisposableStack();
  const flags = ["--auth", "none", "--penalties", "off", "--tls", "--to", `127.0.0.1:${port}`];
  const server = stack.use(await serve(flags, { data: join(folder, "server") }));
  const proxy = stack.use(await cuttingProxy({ port: server.port, first: 10_000, ...cuts }));
  const tunnel = stack.use(await listen(join(folder, "client"), proxy.address, ["--tls", "--accept-new"]));
  const held = () =>
    process.platform === "linux" ? [server, tunnel].map(({ pid }) => descriptors(pid)) : [];
  const atFirst = held();
  const all = stack.move();
  return {
    proxy,
    tunnel,
    async stop() {
      await until("descriptors held no longer", true, () =>
        held().every((count, at) => count <= atFirst[at]!),
      );
      tunnel.signal("SIGTERM");
      const code = await tunnel.exited;
      if (code !== 0 || tunnel.stderr.text !== "")
        throw new Error(`the tunnel ended with ${code}: ${tunnel.stderr.text}`);
      await server.stop();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
