// `kubectl logs`: the lines of a part of this node, from memory; those of a part of another node, from that node.
import type { KindDefinition, LogOptions, ObjectClient } from '../apiserver/index.ts';
import { ApiError } from '../apiserver/index.ts';
import { NODE, type Node, type Pod } from '../kinds/index.ts';
import { type LogBook, logFilterOf } from '../node/index.ts';

export interface PodLogOptions {
  readonly book: LogBook;
  readonly client: ObjectClient;
  readonly nodeName: string;
  /** APIs are served over TLS, to tokens: those of a caller are not passed on. */
  readonly isSecured: boolean;
}

export function podLog({
  book,
  client,
  nodeName,
  isSecured,
}: PodLogOptions): NonNullable<KindDefinition<Pod>['log']> {
  return (pod, options) =>
    pod.spec.nodeName === nodeName
      ? book.read(logFilterOf(pod), {
          tailLines: options.tailLines,
          sinceMs: sinceMsOf(options),
          limitBytes: options.limitBytes,
          timestamps: options.timestamps,
          follow: options.follow,
          signal: options.signal,
        })
      : elsewhere(pod, options, client, isSecured);
}

function sinceMsOf({ sinceSeconds, sinceTime }: LogOptions): number | null {
  if (sinceSeconds !== null) return Date.now() - sinceSeconds * 1000;
  return sinceTime === null ? null : Date.parse(sinceTime);
}

async function* elsewhere(
  pod: Pod,
  options: LogOptions,
  client: ObjectClient,
  isSecured: boolean,
): AsyncGenerator<string> {
  const node = await client.get<Node>(NODE, null, pod.spec.nodeName ?? '');
  const { apiAddress } = node.status ?? {};
  if (apiAddress === undefined) {
    throw new ApiError(
      'ServiceUnavailable',
      `node ${pod.spec.nodeName} has told no address of its API`,
    );
  }
  if (isSecured) {
    throw new ApiError(
      'ServiceUnavailable',
      `node ${pod.spec.nodeName} has these lines itself: ask its API, --server https://${apiAddress}`,
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
  const url = `http://${apiAddress}/api/v1/namespaces/${namespace}/pods/${name}/log?${query}`;
  const answer = await fetch(url, { signal: options.signal }).catch((cause: unknown) => {
    throw new ApiError(
      'ServiceUnavailable',
      `node ${pod.spec.nodeName} does not answer`,
      {},
      { cause },
    );
  });
  if (!answer.ok || answer.body === null) {
    throw new ApiError('ServiceUnavailable', `node ${pod.spec.nodeName} answered ${answer.status}`);
  }
  const decoder = new TextDecoder();
  for await (const chunk of answer.body)
    yield decoder.decode(chunk as Uint8Array, { stream: true });
}
