// kubeconfig: what a stock kubectl needs to know of this API.
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { clientOf } from '../connect.ts';

export function addKubeconfig(program: Command): void {
  program
    .command('kubeconfig')
    .description('print a kubeconfig for kubectl: ashlar kubeconfig > ~/.kube/config')
    .action(async () => {
      const client = await clientOf(program);
      const cluster = {
        server: client.url,
        // Some client libraries refuse plain HTTP unless told that no certificate is to be checked; kubectl does not mind.
        ...(client.url.startsWith('http:') ? { 'insecure-skip-tls-verify': true } : {}),
        ...(client.ca === null
          ? {}
          : { 'certificate-authority-data': client.ca.toString('base64') }),
      };
      const user = client.token === null ? {} : { token: client.token };
      const config = {
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [{ name: 'ashlar', cluster }],
        users: [{ name: 'ashlar', user }],
        contexts: [{ name: 'ashlar', context: { cluster: 'ashlar', user: 'ashlar' } }],
        'current-context': 'ashlar',
      };
      process.stdout.write(stringify(config));
    });
}
