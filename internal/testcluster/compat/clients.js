// Public Node clients of the SeaweedFS HTTP API, as they are, against a store.
//
// Usage: node clients.js MASTER_HOST:PORT, with the modules in NODE_PATH
// Prints one line per client, with the first step that failed; exits 1 when one did.
"use strict";

const assert = require("assert");
const crypto = require("crypto");
const fs = require("fs");
const os = require("os");
const path = require("path");

const [host, port] = process.argv[2].split(":");
const text = Buffer.from("hello weed! ".repeat(50));
const binary = crypto.randomBytes(300000);

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

async function nodeSeaweedfs() {
  const Client = require("node-seaweedfs");
  const client = new Client({ server: host, port });
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "compat-"));
  try {
    for (const data of [text, binary]) {
      const file = path.join(dir, "file.txt");
      fs.writeFileSync(file, data);
      for (const source of [file, data]) {
        const { fid } = await client.write(source, { collection: "node" });
        assert.deepStrictEqual(await client.read(fid), data);
        assert((await client.find(fid)).locations.length > 0);
        assert((await client.find(fid, { collection: "node" })).locations.length > 0);
        const copy = path.join(dir, "copy");
        const stream = await client.read(fid, fs.createWriteStream(copy));
        await new Promise((done, fail) => stream.on("finish", done).on("error", fail));
        assert.deepStrictEqual(fs.readFileSync(copy), data);
        await client.remove(fid);
        await assert.rejects(client.read(fid), /not found/);
        await assert.rejects(client.remove(fid));
      }
      const many = await client.write([file, data], {});
      for (const i of [0, 1]) assert.deepStrictEqual(await client.read(many.fid + "_" + i), data);
      const { fid, url } = await client.write(data, { ttl: "3d" });
      assert.deepStrictEqual(await client.read(fid), data);
      assert((await client.volumeStatus(url)).Volumes.length > 0);
    }
    await assert.rejects(client.find("4000000,01637037d6"));
    assert((await client.clusterStatus()).Leader);
    assert((await client.masterStatus()).Leader);
    assert((await client.systemStatus()).Topology);
    assert((await client.vacuum({ garbageThreshold: 0.4 })).Topology);
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

async function blockStorage() {
  const { BlockStorage } = require("@trubavuong/seaweedfs");
  const store = new BlockStorage(`http://${host}:${port}/`);
  await store.ping();
  assert.strictEqual((await store.reserve(10)).count, 10);
  for (const data of [text, binary]) {
    const { fid, size } = await store.add(data);
    assert.strictEqual(size, data.length);
    assert.deepStrictEqual(await collect(await store.get(fid)), data);
    const other = Buffer.concat([data, data]);
    assert.strictEqual((await store.replace(fid, other)).size, other.length);
    assert.deepStrictEqual(await collect(await store.get(fid)), other);
    await store.delete(fid);
    await assert.rejects(store.get(fid));
    await store.delete(fid);
  }
}

(async () => {
  for (const [name, run] of Object.entries({ "node-seaweedfs": nodeSeaweedfs, "@trubavuong/seaweedfs": blockStorage })) {
    try {
      await run();
      console.log("ok  ", name);
    } catch (error) {
      process.exitCode = 1;
      console.log("FAIL", name);
      console.error(String(error.stack || error).split("\n").slice(0, 6).join("\n"));
    }
  }
})();
