// Runs when the package is installed from a registry or a tarball: builds the engine there. A clone builds with
// `npm start`, `npm test` or `npm run build`, where progress is shown; it is known by its sources.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
if (!existsSync(join(root, 'src'))) {
  const built = spawnSync('cmake-js', ['compile', '--out', 'build/cmake'], {
    cwd: root,
    stdio: 'inherit',
    shell: true,
  });
  if (built.status !== 0) {
    process.stderr.write(
      'ashlar builds its engine here: apt-get install g++ make cmake liburing-dev\n',
    );
    process.exit(1);
  }
}
