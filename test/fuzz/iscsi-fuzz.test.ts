import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PduParser, type PduSink } from '../../src/iscsi/pdu/index.ts';
import { runIscsiFuzz } from './iscsi-fuzz.ts';

/** A taste: the million is a phase of its own. */
const PDUS = 100_000;

test(`${PDUS} malformed PDUs do no harm`, async () => {
  const report = await runIscsiFuzz({ pdus: PDUS, seed: Number(process.env['FUZZ_SEED'] ?? '1') });
  assert.ok(report.pdus >= PDUS);
});

test('any bytes at all give PDUs or a typed error', () => {
  const sink: PduSink = {
    placeData: () => undefined,
    onPdu: () => undefined,
    onDataDigestError: () => undefined,
    onStreamError: () => undefined,
  };
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }),
      fc.boolean(),
      fc.boolean(),
      (parts, header, data) => {
        const parser = new PduParser(sink);
        parser.setLimits({ maxAhsBytes: 1020, maxDataSegmentBytes: 0xffffff });
        parser.setDigests({ header, data });
        for (const part of parts) {
          const bytes = Buffer.from(part);
          assert.equal(parser.feed(bytes, 0, bytes.length), bytes.length);
        }
      },
    ),
  );
});
