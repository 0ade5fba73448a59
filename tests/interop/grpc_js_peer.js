// gRPC's interop tests as grpc-js does them.
//
//     node grpc_js_peer.js server PORT PROTO_DIR
//     node grpc_js_peer.js client PORT PROTO_DIR CASE...    a line a case
//     SOAK=N in the environment: so many iterations of a soak
//
// PROTO_DIR holds grpc/testing/test.proto; NODE_PATH leads to @grpc/grpc-js.
'use strict';
const assert = require('assert').strict;
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [role, port, protoDir, ...wanted] = process.argv.slice(2);
const {testing} = grpc.loadPackageDefinition(
    loader.loadSync('grpc/testing/test.proto',
                    {includeDirs: [protoDir], keepCase: true,
                     defaults: true})).grpc;

const ECHO_INITIAL = 'x-grpc-test-echo-initial';
const ECHO_TRAILING = 'x-grpc-test-echo-trailing-bin';
const zeros = (size) => ({body: Buffer.alloc(size)});

// ---- the server -----------------------------------------------------------

function echo(call) {
  const initial = new grpc.Metadata(), trailing = new grpc.Metadata();
  call.metadata.get(ECHO_INITIAL).forEach((v) => initial.add(ECHO_INITIAL, v));
  call.metadata.get(ECHO_TRAILING).forEach(
      (v) => trailing.add(ECHO_TRAILING, v));
  call.sendMetadata(initial);
  return trailing;
}

function failure(status, trailing) {
  return status && status.code !== 0
      ? {code: status.code, details: status.message, metadata: trailing}
      : null;
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function respond(call, request) {
  for (const want of request.response_parameters) {
    if (want.interval_us > 0) await sleep(want.interval_us / 1000);
    if (!call.write({payload: zeros(want.size)}))
      await new Promise((done) => call.once('drain', done));
  }
}

async function streamingOutput(call) {
  const trailing = echo(call);
  const failed = failure(call.request.response_status, trailing);
  if (failed) return call.emit('error', failed);
  await respond(call, call.request);
  call.end(trailing);
}

// One message after the other, each answered in full.
function fullDuplex(call) {
  const trailing = echo(call);
  let turn = Promise.resolve(), failed = null;
  call.on('data', (request) => turn = turn.then(async () => {
    if (failed) return;
    failed = failure(request.response_status, trailing);
    if (failed) call.emit('error', failed);
    else await respond(call, request);
  }));
  call.on('end', () => turn.then(() => failed || call.end(trailing)));
}

const service = {
  EmptyCall: (call, done) => done(null, {}, echo(call)),
  UnaryCall(call, done) {
    const trailing = echo(call), request = call.request;
    const failed = failure(request.response_status, trailing);
    if (failed) return done(failed);
    done(null, {
      payload: zeros(request.response_size),
      server_id: request.fill_server_id ? 'grpc-js-' + process.pid : '',
    }, trailing);
  },
  StreamingOutputCall: (call) => streamingOutput(call).catch(() => {}),
  StreamingInputCall(call, done) {
    const trailing = echo(call);
    let size = 0;
    call.on('data', (message) => size += message.payload.body.length);
    call.on('end', () => done(null, {aggregated_payload_size: size},
                              trailing));
  },
  FullDuplexCall: fullDuplex,
};

function serve() {
  const server = new grpc.Server({'grpc.max_receive_message_length': 16 << 20});
  server.addService(testing.TestService.service, service);
  server.bindAsync('127.0.0.1:' + port, grpc.ServerCredentials.createInsecure(),
                   (error, bound) => {
                     if (error) throw error;
                     console.log('listening on 127.0.0.1:' + bound);
                   });
}

// ---- the client -----------------------------------------------------------

const REQUESTS = [27182, 8, 1828, 45904], RESPONSES = [31415, 9, 2653, 58979];
const LARGE = {response_size: 314159, payload: zeros(271828)};
const SPECIAL = '\t\ntest with whitespace\r\nand Unicode BMP \u263A and ' +
    'non-BMP \u{1F608}\t\n';

function connect(Service = testing.TestService) {
  return new Service('127.0.0.1:' + port, grpc.credentials.createInsecure(),
                     {'grpc.use_local_subchannel_pool': 1});
}

const deadline = (ms = 20000) => ({deadline: Date.now() + ms});

// Watches a call: what comes, and how it ends.
function watch(call) {
  const seen = {initial: null, messages: []};
  call.on('metadata', (metadata) => seen.initial = metadata);
  seen.end = new Promise((done) => {
    call.on('status', (status) => done(status));
    call.on('error', () => {});
  });
  if (call.on && call.read) call.on('data', (m) => seen.messages.push(m));
  return seen;
}

async function unary(client, method, request, metadata = new grpc.Metadata()) {
  let response;
  const call = client[method](request, metadata, deadline(),
                              (error, answer) => response = answer);
  const seen = watch(call);
  const status = await seen.end;
  await sleep(0);
  return {response, status, initial: seen.initial};
}

function checkStatus(status, code, details) {
  assert.equal(status.code, code,
               `the status is ${status.code} "${status.details}"`);
  if (details !== undefined) assert.equal(status.details, details);
}

function checkPayload(payload, size) {
  assert.ok(payload, 'there is no payload');
  assert.equal(payload.body.length, size, 'payload of ' + payload.body.length);
  assert.ok(payload.body.every((byte) => byte === 0), 'a byte is not zero');
}

function checkResponses(seen, sizes) {
  assert.equal(seen.messages.length, sizes.length, 'number of responses');
  sizes.forEach((size, i) => checkPayload(seen.messages[i].payload, size));
}

async function largeUnary(client, request = LARGE) {
  const {response, status} = await unary(client, 'UnaryCall', request);
  checkStatus(status, 0);
  checkPayload(response.payload, request.response_size);
}

const ask = (response, size) => ({
  response_parameters: response === null ? [] : [{size: response}],
  payload: zeros(size),
});

function checkEcho(initial, trailing) {
  assert.deepEqual(initial.get(ECHO_INITIAL), ['test_initial_metadata_value']);
  assert.deepEqual(trailing.get(ECHO_TRAILING), [Buffer.from('ababab', 'hex')]);
}

async function soak(anew) {
  let client = connect();
  for (let i = 0; i < Number(process.env.SOAK || 10); i++) {
    const began = Date.now();
    if (anew) {
      client.close();
      client = connect();
    }
    await largeUnary(client);
    assert.ok(Date.now() - began <= 2000, `iteration ${i} took too long`);
  }
  client.close();
}

const cases = {
  async empty_unary(client) {
    const {response, status} = await unary(client, 'EmptyCall', {});
    checkStatus(status, 0);
    assert.ok(response, 'there is no response');
  },
  large_unary: (client) => largeUnary(client),
  very_large_request: (client) =>
      largeUnary(client, {response_size: 10, payload: zeros(10 << 20)}),
  async client_streaming(client) {
    let response;
    const call = client.StreamingInputCall(
        deadline(), (error, answer) => response = answer);
    const seen = watch(call);
    REQUESTS.forEach((size) => call.write({payload: zeros(size)}));
    call.end();
    checkStatus(await seen.end, 0);
    await sleep(0);
    assert.equal(response.aggregated_payload_size, 74922);
  },
  async server_streaming(client) {
    const seen = watch(client.StreamingOutputCall(
        {response_parameters: RESPONSES.map((size) => ({size}))},
        deadline()));
    checkStatus(await seen.end, 0);
    checkResponses(seen, RESPONSES);
  },
  async ping_pong(client) {
    const call = client.FullDuplexCall(deadline());
    const seen = watch(call);
    let next = 0;
    const go = () => {
      if (next === 4) return call.end();
      call.write(ask(RESPONSES[next], REQUESTS[next]));
      next++;
    };
    call.on('data', go);
    go();
    checkStatus(await seen.end, 0);
    checkResponses(seen, RESPONSES);
  },
  async empty_stream(client) {
    const call = client.FullDuplexCall(deadline());
    const seen = watch(call);
    call.end();
    checkStatus(await seen.end, 0);
    checkResponses(seen, []);
  },
  async timeout_on_sleeping_server(client) {
    const call = client.FullDuplexCall(deadline(1));
    const seen = watch(call);
    call.write(ask(null, 27182));
    checkStatus(await seen.end, grpc.status.DEADLINE_EXCEEDED);
  },
  async cancel_after_begin(client) {
    await largeUnary(client);
    const call = client.StreamingInputCall(deadline(), () => {});
    const seen = watch(call);
    setImmediate(() => call.cancel());
    checkStatus(await seen.end, grpc.status.CANCELLED);
    await largeUnary(client);
  },
  async cancel_after_first_response(client) {
    const call = client.FullDuplexCall(deadline());
    const seen = watch(call);
    call.on('data', () => call.cancel());
    call.write(ask(31415, 27182));
    checkStatus(await seen.end, grpc.status.CANCELLED);
    checkResponses(seen, [31415]);
    await largeUnary(client);
  },
  async status_code_and_message(client) {
    const response_status = {code: 2, message: 'test status message'};
    const one = await unary(client, 'UnaryCall', {response_status});
    checkStatus(one.status, 2, 'test status message');
    const call = client.FullDuplexCall(deadline());
    const seen = watch(call);
    call.write({response_status});
    call.end();
    checkStatus(await seen.end, 2, 'test status message');
  },
  async special_status_message(client) {
    const {status} = await unary(
        client, 'UnaryCall', {response_status: {code: 2, message: SPECIAL}});
    checkStatus(status, 2, SPECIAL);
  },
  async custom_metadata(client) {
    const metadata = new grpc.Metadata();
    metadata.add(ECHO_INITIAL, 'test_initial_metadata_value');
    metadata.add(ECHO_TRAILING, Buffer.from('ababab', 'hex'));
    const one = await unary(client, 'UnaryCall', LARGE, metadata);
    checkStatus(one.status, 0);
    checkPayload(one.response.payload, 314159);
    checkEcho(one.initial, one.status.metadata);
    const call = client.FullDuplexCall(metadata, deadline());
    const seen = watch(call);
    call.write(ask(314159, 271828));
    call.end();
    const status = await seen.end;
    checkStatus(status, 0);
    checkResponses(seen, [314159]);
    checkEcho(seen.initial, status.metadata);
  },
  async unimplemented_method(client) {
    const {status} = await unary(client, 'UnimplementedCall', {});
    checkStatus(status, grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    const client = connect(testing.UnimplementedService);
    const {status} = await unary(client, 'UnimplementedCall', {});
    client.close();
    checkStatus(status, grpc.status.UNIMPLEMENTED);
  },
  async pick_first_unary(client) {
    const ids = new Set();
    for (let i = 0; i < 100; i++) {
      const {response, status} = await unary(
          client, 'UnaryCall', {response_size: 1, fill_server_id: true});
      checkStatus(status, 0);
      ids.add(response.server_id);
    }
    assert.equal(ids.size, 1, 'several servers answered');
    assert.ok(!ids.has(''), 'the response has no server_id');
  },
  rpc_soak: () => soak(false),
  channel_soak: () => soak(true),
};

async function run() {
  for (const name of wanted) {
    const client = connect();
    try {
      assert.ok(cases[name], 'there is no such case here');
      await cases[name](client);
      console.log('passed ' + name);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAILED ${name}: ${error.message.split('\n').join(' ')}`);
    }
    client.close();
  }
}

if (role === 'server') serve();
else run();
