// Writes src/wire/schema-text.ts from src/wire/wire.proto: a protocol room reads no files, so the schema travels as text.
// `node scripts/wire-proto.mjs` after a change of the schema; a unit test compares the two.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const room = join(dirname(fileURLToPath(import.meta.url)), '..', 'src', 'wire');
const proto = readFileSync(join(room, 'wire.proto'), 'utf8');
if (/[`\\$]/.test(proto))
  throw new Error('wire.proto holds a character that a template literal does not take');
writeFileSync(
  join(room, 'schema-text.ts'),
  `// Made from wire.proto by scripts/wire-proto.mjs. Change that file, not this one.\nexport const WIRE_PROTO = \`${proto}\`;\n`,
);
