// Programs in a workspace that speak something else than HTTP/1.1, and their
// clients; port_protocols_are_honoured.t says who is who:
//   node X.mjs serve ADDRESS KEY CERT       https on 3443, gRPC on 3002, HTTP/2 on 3003
//   node X.mjs call TARGET HOST TOKEN       gRPC through the gateway; prints TAP lines
import { createRequire } from "node:module";
import { createServer as createHttps } from "node:https";
import { createServer as createHttp2 } from "node:http2";
import { readFileSync } from "node:fs";

const require = createRequire(`${process.env.GP_CLIENTS}/`);
const grpc = require("@grpc/grpc-js");

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/test.Echo/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const echo = { Unary: method("Unary", false, false), Chat: method("Chat", true, true) };

function serve(address, key, cert) {
  let connections = 0;
  const https = createHttps({ key: readFileSync(key), cert: readFileSync(cert) }, (req, res) => {
    res.setHeader("Content-Type", "application/json");
    res.end(JSON.stringify({ sni: req.socket.servername, connection: req.socket.number, headers: req.headers, tls: req.socket.getProtocol() }));
  });
  https.on("secureConnection", (socket) => { socket.number = ++connections; });
  https.on("upgrade", (req, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    socket.pipe(socket);
    socket.on("error", () => {});
  });
  https.listen(3443, address);

  createHttp2((req, res) => {
    // An answer before the end of the request makes nginx reset the stream (NO_ERROR, RFC 9113, 8.1): some clients lose it.
    req.resume().on("end", () => {
      res.setHeader("content-type", "application/json");
      res.end(JSON.stringify({ version: req.httpVersion, headers: req.headers }));
    });
  }).listen(3003, address);

  const server = new grpc.Server();
  server.addService(echo, {
    Unary(call, done) {
      const text = call.request.toString();
      if (text === "fail") return done({ code: grpc.status.FAILED_PRECONDITION, details: "as asked" });
      const trailer = new grpc.Metadata();
      trailer.set("x-trailer", "t");
      return done(null, Buffer.from(JSON.stringify({ text, metadata: call.metadata.getMap() })), trailer);
    },
    Chat(call) {
      call.on("data", (bytes) => call.write(bytes));
      call.on("end", () => call.end());
    },
  });
  server.bindAsync(`${address}:3002`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
    console.log("ready");
  });
}

function ok(good, what) { console.log(`${good ? "" : "not "}ok - ${what}`); }

async function call(target, host, token) {
  const Client = grpc.makeGenericClientConstructor(echo, "test.Echo");
  const client = new Client(target, grpc.credentials.createInsecure(), { "grpc.default_authority": host });
  const metadata = new grpc.Metadata();
  metadata.set("x-gitpod-owner-token", token);
  const unary = (text, headers) => new Promise((resolve) => {
    let trailer;
    const request = client.Unary(Buffer.from(text), headers, { deadline: Date.now() + 10000 }, (error, answer) =>
      setImmediate(() => resolve({ code: error ? error.code : 0, details: error?.details, answer: answer && JSON.parse(answer.toString()), trailer })));
    request.on("status", (status) => { trailer = status.metadata.get("x-trailer")[0]; });
  });

  let r = await unary("hello", metadata);
  ok(r.code === 0 && r.answer.text === "hello", `a unary call arrives (${r.code} ${r.details ?? ""})`);
  ok(r.trailer === "t", "its trailers come back");
  ok(r.answer && !("x-gitpod-owner-token" in r.answer.metadata), "the owner token does not reach the program");
  ok(r.answer?.metadata["x-forwarded-host"] === host, "X-Forwarded-Host is set");
  r = await unary("fail", metadata);
  ok(r.code === grpc.status.FAILED_PRECONDITION && r.details === "as asked", "a status of the program passes");
  r = await unary("x".repeat(1 << 20), metadata);
  ok(r.answer?.text.length === 1 << 20, "a megabyte passes");
  r = await unary("hello", new grpc.Metadata());
  ok(r.code === grpc.status.UNAUTHENTICATED, `without a credential it is UNAUTHENTICATED (${r.code})`);

  // One message at a time: nothing is held back until the stream ends.
  const chat = client.Chat(metadata, { deadline: Date.now() + 20000 });
  const waiting = [];
  let ended = -1;
  chat.on("data", (bytes) => waiting.shift()?.(bytes.toString()));
  chat.on("error", () => {});
  const done = new Promise((resolve) => chat.on("status", (status) => { ended = status.code; waiting.shift()?.("ended"); resolve(); }));
  let back = "";
  for (let i = 0; i < 50 && ended < 0; i++) {
    back += await new Promise((resolve) => { waiting.push(resolve); chat.write(Buffer.from(`${i} `)); });
  }
  ok(back === Array.from({ length: 50 }, (_, i) => `${i} `).join(""), "both directions of a stream pass, message by message");
  chat.end();
  await done;
  ok(ended === 0, `and it ends well (${ended})`);
  client.close();
}

const [what, ...args] = process.argv.slice(2);
if (what === "serve") serve(...args);
else await call(...args);
