// An etcd of one's own: on loopback, on free ports, in a folder of the test.
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { promisify } from 'node:util';

export interface EtcdUnderTest {
  /** host:port for clients. */
  readonly endpoint: string;
  /** As a power cut would. */
  kill(): Promise<void>;
  /** On the same data and ports. */
  start(): Promise<void>;
  compact(revision: number): Promise<void>;
  stop(): Promise<void>;
}

export async function startEtcd(folder: string): Promise<EtcdUnderTest> {
  const [clientPort, peerPort] = [await aFreePort(), await aFreePort()];
  const client = `http://127.0.0.1:${clientPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  let child: ChildProcess | null = null;

  const start = async (): Promise<void> => {
    const flags = [
      ...['--name', 'test', '--data-dir', folder, '--log-outputs', 'stderr'],
      ...['--listen-client-urls', client, '--advertise-client-urls', client],
      ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
      ...['--initial-cluster', `test=${peer}`, '--logger', 'zap'],
      // The tests' data need not outlive the machine.
      '--unsafe-no-fsync',
    ];
    const env = { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch };
    const started = spawn('etcd', flags, { stdio: ['ignore', 'ignore', 'pipe'], env });
    child = started;
    let output = '';
    started.stderr?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
    });
    const failed = new Promise<never>((_resolve, reject) => {
      started.once('error', (error) =>
        reject(new Error(`etcd cannot be started (apt-get install etcd-server): ${error.message}`)),
      );
      started.once('exit', (code) => reject(new Error(`etcd ended with ${code}:\n${output}`)));
    });
    failed.catch(() => {});
    for (let tries = 0; ; tries += 1) {
      assert.ok(tries < 200, `etcd does not answer:\n${output}`);
      const pause = new Promise((resolve) => setTimeout(resolve, 100));
      await Promise.race([pause, failed]);
      try {
        const answer = await fetch(`${client}/health`);
        if (answer.ok && ((await answer.json()) as { health: string }).health === 'true') break;
      } catch {
        // Not yet.
      }
    }
    started.removeAllListeners('exit');
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = child;
    child = null;
    if (running === null || running.exitCode !== null) return;
    const gone = once(running, 'exit');
    running.kill(signal);
    await gone;
  };
  await start();
  return {
    endpoint: `127.0.0.1:${clientPort}`,
    start,
    kill: () => end('SIGKILL'),
    stop: () => end('SIGKILL'),
    compact: async (revision) => {
      const env = { ...process.env, ETCDCTL_API: '3' };
      await promisify(execFile)('etcdctl', ['--endpoints', client, 'compact', String(revision)], {
        env,
      });
    },
  };
}

async function aFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
