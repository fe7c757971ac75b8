// `kubectl logs`: the lines of a part of this node, from memory; those of a part of another node, from that node.
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { KindDefinition, LogOptions, ObjectClient, PeerIdentity } from '../apiserver/index.ts';
import { ApiError, NODE_SERVER_NAME } from '../apiserver/index.ts';
import { NODE, type Node, type Pod } from '../kinds/index.ts';
import { type LogBook, logFilterOf } from '../node/index.ts';

export interface PodLogOptions {
  readonly book: LogBook;
  readonly client: ObjectClient;
  readonly nodeName: string;
  /** APIs are served over TLS, to tokens: those of a caller are not passed on. */
  readonly isSecured: boolean;
  /** As whom nodes know each other (replication.tls); null: they have no certificates for that. */
  readonly peers: PeerIdentity | null;
}

/** For the head of the other node's answer. */
const ANSWER_LIMIT_MS = 10_000;
const MAX_REFUSAL_CHARACTERS = 16 * 1024;

export function podLog(from: PodLogOptions): NonNullable<KindDefinition<Pod>['log']> {
  return (pod, options) => {
    assertThere(pod, options);
    return pod.spec.nodeName === from.nodeName
      ? from.book.read(logFilterOf(pod), {
          tailLines: options.tailLines,
          sinceMs: sinceMsOf(options),
          limitBytes: options.limitBytes,
          timestamps: options.timestamps,
          follow: options.follow,
          signal: options.signal,
        })
      : elsewhere(pod, options, from);
  };
}

/** A part has one container, and nothing is kept of the process before. */
function assertThere({ metadata: { name }, spec }: Pod, { container, previous }: LogOptions): void {
  const names = spec.containers.map((one) => one.name);
  if (container !== null && container !== '' && !names.includes(container)) {
    const why = `container ${container} is not valid for pod ${name}: it has ${names.join(', ')}`;
    throw new ApiError('BadRequest', why);
  }
  if (previous) {
    const why = `previous terminated container "${names[0] ?? ''}" in pod "${name}" not found: journalctl -u ashlar-node, on its node, has what it said before`;
    throw new ApiError('BadRequest', why);
  }
}

function sinceMsOf({ sinceSeconds, sinceTime }: LogOptions): number | null {
  if (sinceSeconds !== null) return Date.now() - sinceSeconds * 1000;
  return sinceTime === null ? null : Date.parse(sinceTime);
}

async function* elsewhere(
  pod: Pod,
  options: LogOptions,
  from: PodLogOptions,
): AsyncGenerator<string> {
  const nodeName = pod.spec.nodeName ?? '';
  const node = await from.client.get<Node>(NODE, null, nodeName);
  const { apiAddress } = node.status ?? {};
  if (apiAddress === undefined)
    throw unavailable(`node ${nodeName} has told no address of its API`);
  if (from.isSecured && from.peers === null) {
    throw unavailable(
      `node ${nodeName} has these lines itself: ask its API, --server https://${apiAddress}; or let nodes know each other by certificates (replication.tls)`,
    );
  }
  const query = new URLSearchParams();
  if (options.follow) query.set('follow', 'true');
  if (options.timestamps) query.set('timestamps', 'true');
  for (const key of ['tailLines', 'sinceSeconds', 'sinceTime', 'limitBytes'] as const) {
    const value = options[key];
    if (value !== null) query.set(key, String(value));
  }
  const { namespace = '', name } = pod.metadata;
  const path = `/api/v1/namespaces/${namespace}/pods/${name}/log?${query}`;
  const answer = await ask(from, apiAddress, path, options.signal).catch((error: Error) => {
    const text = `node ${nodeName} (${apiAddress}) cannot be asked for these lines: ${error.message}`;
    throw unavailable(text, error);
  });
  if (answer.statusCode !== 200) {
    throw unavailable(`node ${nodeName} answered ${answer.statusCode}: ${await refusalOf(answer)}`);
  }
  const decoder = new TextDecoder();
  try {
    for await (const chunk of answer) yield decoder.decode(chunk as Uint8Array, { stream: true });
  } finally {
    answer.destroy();
  }
}

/** Resolves with the head of the answer. */
function ask(
  { isSecured, peers }: PodLogOptions,
  address: string,
  path: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const url = `${isSecured ? 'https' : 'http'}://${address}${path}`;
  const secured =
    isSecured && peers !== null
      ? {
          cert: peers.cert,
          key: peers.key,
          ca: peers.ca,
          servername: NODE_SERVER_NAME,
          minVersion: 'TLSv1.3' as const,
          // As between replicas: who has a certificate of the nodes' authority is one. Names are not looked at.
          checkServerIdentity: () => undefined,
        }
      : {};
  return new Promise((resolve, reject) => {
    const asked = { signal, agent: false, ...secured };
    const request = isSecured ? httpsRequest(url, asked) : httpRequest(url, asked);
    // Until the head is there: a log that is followed may be silent for as long as it likes.
    const late = setTimeout(
      () => request.destroy(new Error('it does not answer')),
      ANSWER_LIMIT_MS,
    );
    request.once('response', (answer) => {
      clearTimeout(late);
      resolve(answer);
    });
    request.on('error', (error) => {
      clearTimeout(late);
      reject(error);
    });
    request.end();
  });
}

/** What the other node said, of a Status that it answered with. */
async function refusalOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer) {
    text += String(chunk);
    if (text.length > MAX_REFUSAL_CHARACTERS) break;
  }
  try {
    return (JSON.parse(text) as { message: string }).message;
  } catch {
    return text.slice(0, 200);
  }
}

function unavailable(message: string, cause?: Error): ApiError {
  return new ApiError('ServiceUnavailable', message, {}, { cause });
}
