// How controllers name an object.
import type { KubeObject } from '../apiserver/index.ts';

/** `NAMESPACE/NAME`, or `NAME` where the kind has no namespaces. */
export function keyOf({ metadata }: KubeObject): string {
  return metadata.namespace === undefined
    ? metadata.name
    : `${metadata.namespace}/${metadata.name}`;
}

export function refOf(key: string): { namespace: string | null; name: string } {
  const at = key.indexOf('/');
  return at < 0
    ? { namespace: null, name: key }
    : { namespace: key.slice(0, at), name: key.slice(at + 1) };
}
