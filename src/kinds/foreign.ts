// Kinds that `ashlar serve` and `ashlar node` have in common are declared once. What of one a program does not do, it refuses
// in words: nobody shall think that it took effect.
import type { StatusCause } from '../apiserver/index.ts';

export type Program = 'node' | 'serve';

/** By program: fields of the other one, with what does that here. */
export type ForeignFields = Readonly<Record<Program, Readonly<Record<string, string>>>>;

const OTHER = { node: 'serve', serve: 'node' } as const;

export function refuseForeign(
  spec: object,
  fields: ForeignFields,
  program: Program,
): StatusCause[] {
  const causes: StatusCause[] = [];
  for (const [field, instead] of Object.entries(fields[program])) {
    const value = (spec as Readonly<Record<string, unknown>>)[field];
    if (value === undefined || value === null) continue;
    const message = `is of \`ashlar ${OTHER[program]}\`; here ${instead}`;
    causes.push({ reason: 'FieldValueNotSupported', field: `spec.${field}`, message });
  }
  return causes;
}
