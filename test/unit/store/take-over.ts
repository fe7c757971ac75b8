// A machine of its own: takes a pool over, and closes it. Arguments: the pool's file, the machine's name.
import { Turn } from '../../../src/base/index.ts';
import { DataBufferPool, MAX_BUFFER_BYTES } from '../../../src/block/index.ts';
import { nativeArena, openPool, thisNode } from '../../../src/store/index.ts';

const [path = '', name = ''] = process.argv.slice(2);
const buffers = new DataBufferPool(nativeArena(MAX_BUFFER_BYTES * 2));
const pool = await openPool({
  path,
  turn: new Turn(),
  buffers,
  owner: thisNode(name, 'c1'),
  takeOver: true,
});
await pool.close();
