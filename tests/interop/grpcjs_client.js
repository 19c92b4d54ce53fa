// Calls by a grpc-js client. Prints one line a case, `ok NAME` or `FAILED NAME: why`.
//
// grpcjs_client.js PORT MODULES [CA_FILE]
'use strict';

const assert = require('assert');
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const [port, modules, caFile] = process.argv.slice(2);
const from = createRequire(path.join(path.resolve(modules), 'x.js'));
const grpc = from('@grpc/grpc-js');
const loader = from('@grpc/proto-loader');

const root = path.resolve(__dirname, '..', '..', 'proto');
const loaded = loader.loadSync('grpc/testing/test.proto', {
  includeDirs: [root], keepCase: true, defaults: true,
});
const { TestService, UnimplementedService } = grpc.loadPackageDefinition(loaded).grpc.testing;
const credentials = caFile
  ? grpc.credentials.createSsl(fs.readFileSync(caFile))
  : grpc.credentials.createInsecure();
const target = `localhost:${port}`;
const stub = new TestService(target, credentials);

const payload = (octets) => ({ body: Buffer.alloc(octets) });
const large = () => ({ response_size: 314159, payload: payload(271828) });
const output = (sizes, rest) =>
  ({ response_parameters: sizes.map((size) => ({ size })), ...rest });
const options = (ms = 20000) => ({ deadline: Date.now() + ms });

// A call that answers with one message: the message, its metadata and its status.
function one(start) {
  return new Promise((resolve, reject) => {
    const seen = {};
    const call = start((error, message) => {
      if (error) reject(error);
      else { seen.message = message; if (seen.status) resolve(seen); }
    });
    call.on('metadata', (metadata) => { seen.metadata = metadata; });
    call.on('status', (status) => { seen.status = status; if (seen.message) resolve(seen); });
  });
}

// A call that answers with many: their sizes, the metadata, the status.
function many(call, each) {
  return new Promise((resolve, reject) => {
    const seen = { sizes: [] };
    call.on('metadata', (metadata) => { seen.metadata = metadata; });
    call.on('data', (message) => {
      seen.sizes.push(message.payload.body.length);
      if (each) each(seen.sizes.length);
    });
    call.on('error', reject);
    call.on('status', (status) => {
      seen.status = status;
      if (status.code === grpc.status.OK) resolve(seen);
    });
  });
}

async function fails(code, promise, details) {
  const error = await promise.then(() => null, (error) => error);
  assert(error, `went well instead of ${code}`);
  assert.strictEqual(error.code, code, error.message);
  if (details !== undefined) assert.strictEqual(error.details, details);
}

const cases = {
  async empty_unary() {
    await one((done) => stub.EmptyCall({}, options(), done));
  },
  async large_unary() {
    const { message } = await one((done) => stub.UnaryCall(large(), options(), done));
    assert.strictEqual(message.payload.body.length, 314159);
  },
  async server_compressed_unary() {
    for (const value of [true, false]) {
      const request = { ...large(), response_compressed: { value } };
      const { message } = await one((done) => stub.UnaryCall(request, options(), done));
      assert(message.payload.body.equals(Buffer.alloc(314159)));
    }
  },
  async client_streaming() {
    const { message } = await one((done) => {
      const call = stub.StreamingInputCall(new grpc.Metadata(), options(), done);
      for (const n of [27182, 8, 1828, 45904]) call.write({ payload: payload(n) });
      call.end();
      return call;
    });
    assert.strictEqual(message.aggregated_payload_size, 74922);
  },
  async server_streaming() {
    const sizes = [31415, 9, 2653, 58979];
    const seen = await many(stub.StreamingOutputCall(output(sizes), options()));
    assert.deepStrictEqual(seen.sizes, sizes);
  },
  async ping_pong() {
    const asked = [31415, 9, 2653, 58979];
    const call = stub.FullDuplexCall(new grpc.Metadata(), options());
    const send = (i) => call.write(output([asked[i]], { payload: payload(100 * (i + 1)) }));
    const all = many(call, (n) => (n < asked.length ? send(n) : call.end()));
    send(0);
    assert.deepStrictEqual((await all).sizes, asked);
  },
  async empty_stream() {
    const call = stub.FullDuplexCall(new grpc.Metadata(), options());
    call.end();
    assert.deepStrictEqual((await many(call)).sizes, []);
  },
  async custom_metadata() {
    const metadata = new grpc.Metadata();
    metadata.set('x-grpc-test-echo-initial', 'test_initial_metadata_value');
    metadata.set('x-grpc-test-echo-trailing-bin', Buffer.from('ababab', 'hex'));
    const check = (seen) => {
      const initial = seen.metadata.get('x-grpc-test-echo-initial');
      assert.deepStrictEqual(initial, ['test_initial_metadata_value']);
      const trailing = seen.status.metadata.get('x-grpc-test-echo-trailing-bin');
      assert.deepStrictEqual(trailing, [Buffer.from('ababab', 'hex')]);
    };
    check(await one((done) => stub.UnaryCall(large(), metadata, options(), done)));
    const call = stub.FullDuplexCall(metadata, options());
    call.end(output([314159], { payload: payload(271828) }));
    check(await many(call));
  },
  async status_code_and_message() {
    const details = '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n';
    const request = { response_status: { code: 2, message: details } };
    await fails(2, one((done) => stub.UnaryCall(request, options(), done)), details);
    const call = stub.FullDuplexCall(new grpc.Metadata(), options());
    call.end(request);
    await fails(2, many(call), details);
  },
  async oversized_metadata() {
    const metadata = new grpc.Metadata();
    metadata.set('x-large', 'v'.repeat(20000));
    await fails(8, one((done) => stub.UnaryCall(large(), metadata, options(), done)));
  },
  async unimplemented() {
    await fails(12, one((done) => stub.UnimplementedCall({}, options(), done)));
    const other = new UnimplementedService(target, credentials);
    await fails(12, one((done) => other.UnimplementedCall({}, options(), done)));
    other.close();
  },
  async deadline() {
    const request = { response_parameters: [{ size: 1, interval_us: 60000000 }] };
    await fails(4, many(stub.StreamingOutputCall(request, options(200))));
  },
  async cancel_after_begin() {
    await fails(1, one((done) => {
      const call = stub.StreamingInputCall(new grpc.Metadata(), options(), done);
      setImmediate(() => call.cancel());
      return call;
    }));
  },
  async cancel_after_first_response() {
    const call = stub.FullDuplexCall(new grpc.Metadata(), options());
    const all = many(call, () => call.cancel());
    call.write(output([31415], { payload: payload(27182) }));
    await fails(1, all);
  },
  async concurrent_unary() {
    const calls = Array.from({ length: 100 }, () =>
      one((done) => stub.UnaryCall({ response_size: 1000 }, options(), done)));
    for (const { message } of await Promise.all(calls)) {
      assert.strictEqual(message.payload.body.length, 1000);
    }
  },
};

(async () => {
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${String(error.message).replace(/\s+/g, ' ')}`);
    }
  }
  stub.close();
  process.exit(failed ? 1 : 0);
})();
