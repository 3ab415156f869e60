// The @grpc/grpc-js client of the interop cases: `node client.js HOST:PORT CASE…` prints one line of
// JSON per case: what the call came to. interop.py says what that should be.
"use strict";

const { once } = require("events");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync(path.join(__dirname, "interop.proto"), { longs: Number });
const { Interop, Absent } = grpc.loadPackageDefinition(definition).weir.test;
const SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

function deadline() {
  return { deadline: Date.now() + 20000 };
}

// What ended a call, in the words of all three clients.
function ended(status) {
  const pushback = status.metadata ? status.metadata.get("grpc-retry-pushback-ms")[0] : undefined;
  const outcome = { code: status.code, message: status.details || "" };
  return pushback === undefined ? outcome : { ...outcome, pushback: Number(pushback) > 0 };
}

function echoed(initial, trailing) {
  const bytes = trailing.get("x-echo-trailing-bin")[0];
  return {
    initial: initial.get("x-echo-initial")[0] || null,
    trailing: bytes ? bytes.toString("hex") : null,
  };
}

// A call with one answer: its end, what `read` makes of the answer, and the metadata.
function single(start, read, wantsMetadata) {
  return new Promise((resolve) => {
    let answer, initial = new grpc.Metadata();
    const call = start((error, value) => {
      answer = error ? null : value;
    });
    call.on("metadata", (metadata) => (initial = metadata));
    call.on("status", (status) => {
      // The callback runs after the status.
      setImmediate(() => {
        const outcome = ended(status);
        if (answer) Object.assign(outcome, read(answer));
        if (wantsMetadata) Object.assign(outcome, echoed(initial, status.metadata));
        resolve(outcome);
      });
    });
  });
}

// A call with many answers; `next` is told of each.
function many(call, next, wantsMetadata) {
  return new Promise((resolve) => {
    const sizes = [];
    let initial = new grpc.Metadata();
    call.on("metadata", (metadata) => (initial = metadata));
    call.on("data", (answer) => {
      sizes.push(answer.body.length);
      next(sizes.length);
    });
    call.on("error", () => {});
    call.on("status", (status) => {
      const outcome = { ...ended(status), sizes };
      if (wantsMetadata) Object.assign(outcome, echoed(initial, status.metadata));
      resolve(outcome);
    });
  });
}

function metadata() {
  const metadata = new grpc.Metadata();
  metadata.set("x-echo-initial", "test_initial_metadata_value");
  metadata.set("x-echo-trailing-bin", Buffer.from("ababab", "hex"));
  return metadata;
}

const body = (answer) => ({ size: answer.body.length });
const total = (answer) => ({ total: answer.total });
const zeros = (size) => Buffer.alloc(size);
const PINGS = [[31415, 27182], [9, 8], [2653, 1828], [58979, 45904]];

function oneMessage(client, ask, sent, wantsMetadata) {
  const call = client.Both(sent, deadline());
  call.write(ask);
  call.end();
  return many(call, () => {}, wantsMetadata);
}

const CASES = {
  empty_unary: (c) => single((done) => c.Empty({}, deadline(), done), () => ({})),
  large_unary: (c) =>
    single((done) => c.Unary({ sizes: [314159], body: zeros(271828) }, deadline(), done), body),
  client_streaming: (c) =>
    single((done) => {
      const call = c.Up(deadline(), done);
      for (const [, size] of PINGS) call.write({ body: zeros(size) });
      call.end();
      return call;
    }, total),
  server_streaming: (c) => many(c.Down({ sizes: PINGS.map(([size]) => size) }, deadline()), () => {}),
  ping_pong: (c) => {
    const call = c.Both(deadline());
    const ping = (at) =>
      at < PINGS.length
        ? call.write({ sizes: [PINGS[at][0]], body: zeros(PINGS[at][1]) })
        : call.end();
    const outcome = many(call, ping);
    ping(0);
    return outcome;
  },
  empty_stream: (c) => {
    const call = c.Both(deadline());
    call.end();
    return many(call, () => {});
  },
  status_code_and_message: async (c) => {
    const ask = { code: 2, message: "test status message" };
    return {
      unary: await single((done) => c.Unary(ask, deadline(), done), body),
      both: await oneMessage(c, ask, new grpc.Metadata()),
    };
  },
  special_status_message: (c) =>
    single((done) => c.Unary({ code: 2, message: SPECIAL }, deadline(), done), body),
  custom_metadata: async (c) => {
    const ask = { sizes: [314159], body: zeros(271828) };
    return {
      unary: await single((done) => c.Unary(ask, metadata(), deadline(), done), body, true),
      both: await oneMessage(c, ask, metadata(), true),
    };
  },
  unimplemented_method: (c) => single((done) => c.Missing({}, deadline(), done), () => ({})),
  unimplemented_service: (c, absent) =>
    single((done) => absent.Missing({}, deadline(), done), () => ({})),
};

async function main([address, ...names]) {
  const plain = grpc.credentials.createInsecure();
  const options = { "grpc.enable_http_proxy": 0 };
  const client = new Interop(address, plain, options);
  const absent = new Absent(address, plain, options);
  for (const name of names) {
    // Goes on when it is told to.
    if (name === "pause") {
      await once(process.stdin, "data");
      process.stdin.pause();
      continue;
    }
    const outcome = await CASES[name](client, absent);
    console.log(JSON.stringify({ case: name, outcome }));
  }
  client.close();
  absent.close();
}

main(process.argv.slice(2));
