// Schemas that several kinds share.
import { Type } from 'typebox';
import { ageColumn, type Column, ConditionsSchema, type KubeObject } from '../apiserver/index.ts';

export const closed = { additionalProperties: false } as const;

/** The same schema, with words of its own. */
export function described<T extends object>(schema: T, description: string): T {
  const copy = Object.create(
    Object.getPrototypeOf(schema),
    Object.getOwnPropertyDescriptors(schema),
  );
  return Object.assign(copy, { description });
}

export const Quantity = Type.Unsafe<string | number>({
  anyOf: [{ type: 'string', maxLength: 40 }, { type: 'integer' }],
  description: 'A quantity of bytes: 5Gi.',
});
export const Bytes = Type.Integer({ minimum: 0, description: 'In bytes.' });

/** What every status may carry. */
export const statusOnly = {
  conditions: ConditionsSchema,
  observedGeneration: Type.Optional(
    Type.Integer({ description: 'The generation of the object that the status tells of.' }),
  ),
} as const;

export const SecretRef = Type.Object(
  {
    name: Type.String({ description: 'The name of the Secret.' }),
    namespace: Type.Optional(Type.String({ description: 'Its namespace; none: default.' })),
  },
  { ...closed, description: 'A Secret of type kubernetes.io/iscsi-chap.' },
);

export const ObjectReference = Type.Object({
  apiVersion: Type.Optional(Type.String({ description: 'The group and version of its kind.' })),
  kind: Type.Optional(Type.String({ description: 'Its kind.' })),
  name: Type.Optional(Type.String({ description: 'Its name.' })),
  namespace: Type.Optional(Type.String({ description: 'Its namespace.' })),
  uid: Type.Optional(
    Type.String({ description: 'Its uid: another object of the same name has another one.' }),
  ),
  resourceVersion: Type.Optional(
    Type.String({ description: 'Of the object when it was referred to.' }),
  ),
  fieldPath: Type.Optional(Type.String({ description: 'A part of the object.' })),
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
