// What kind of answer a client wants: an object as JSON or YAML, a table, an object's metadata alone.
import { ApiError, clip } from './errors.ts';
import { oneOf, type Query } from './request.ts';
import type { TableOptions } from './table.ts';

export type Shape =
  | { as: 'object'; format: 'json' | 'yaml' }
  | { as: 'table'; options: TableOptions }
  | { as: 'partial'; version: string };

const JSON_TYPES = ['application/json', 'application/*', '*/*', ''];
const YAML_TYPES = ['application/yaml', 'text/yaml'];

/** The first of its wishes that can be had; NotAcceptable where none can. */
export function wantedShape(accept: string, query: Query): Shape {
  for (const wish of accept.split(',')) {
    const [type = '', ...parameters] = wish.split(';').map((part) => part.trim());
    const values = new Map(parameters.map((part) => part.split('=', 2) as [string, string]));
    const as = values.get('as');
    if (YAML_TYPES.includes(type) && as === undefined) return { as: 'object', format: 'yaml' };
    if (!JSON_TYPES.includes(type)) continue;
    if (as === undefined) return { as: 'object', format: 'json' };
    const version = values.get('v') ?? 'v1';
    if (values.get('g') !== 'meta.k8s.io' || !['v1', 'v1beta1'].includes(version)) continue;
    if (as === 'Table') {
      const include = oneOf(query, 'includeObject', ['None', 'Metadata', 'Object'] as const);
      return {
        as: 'table',
        options: { version: version as 'v1', include: include ?? 'Metadata' },
      };
    }
    if (as.startsWith('PartialObjectMetadata')) return { as: 'partial', version };
  }
  throw new ApiError(
    'NotAcceptable',
    `only the following media types are accepted: application/json, application/yaml, application/json;as=Table;g=meta.k8s.io;v=v1; not '${clip(accept)}'`,
  );
}
