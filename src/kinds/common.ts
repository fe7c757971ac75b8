// Schemas that several kinds share.
import { Type } from 'typebox';
import { ageColumn, type Column, ConditionsSchema, type KubeObject } from '../apiserver/index.ts';

export const closed = { additionalProperties: false } as const;

export const Quantity = Type.Unsafe<string | number>({
  anyOf: [{ type: 'string', maxLength: 40 }, { type: 'integer' }],
  description: 'A quantity of bytes: 5Gi.',
});
export const Bytes = Type.Integer({ minimum: 0, description: 'In bytes.' });

/** What every status may carry. */
export const statusOnly = {
  conditions: ConditionsSchema,
  observedGeneration: Type.Optional(Type.Integer()),
} as const;

export const SecretRef = Type.Object(
  { name: Type.String(), namespace: Type.Optional(Type.String()) },
  { ...closed, description: 'A Secret of type kubernetes.io/iscsi-chap.' },
);

export const ObjectReference = Type.Object({
  apiVersion: Type.Optional(Type.String()),
  kind: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  namespace: Type.Optional(Type.String()),
  uid: Type.Optional(Type.String()),
  resourceVersion: Type.Optional(Type.String()),
  fieldPath: Type.Optional(Type.String()),
});

export const StringMap = Type.Record(Type.String(), Type.String());

export function column<T extends KubeObject>(
  name: string,
  description: string,
  value: Column<T>['value'],
  options: { wide?: boolean; type?: NonNullable<Column<T>['type']> } = {},
): Column<T> {
  return { name, description, value, ...options };
}

/** Fits every kind. */
export const age = ageColumn as unknown as Column;
