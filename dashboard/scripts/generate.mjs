// Generates the Connect client's types from ../proto with Debian's protoc.
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const proto = join(root, "..", "proto");
const out = join(root, "src", "gen");

const files = ["gitpod/v1", "gitpod/extension/v1"].flatMap((folder) =>
  readdirSync(join(proto, folder))
    .filter((name) => name.endsWith(".proto"))
    .map((name) => join(folder, name)),
);

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
try {
  execFileSync(
    "protoc",
    [
      `--plugin=protoc-gen-es=${join(root, "node_modules", ".bin", "protoc-gen-es")}`,
      "-I", proto,
      `--es_out=${out}`,
      "--es_opt=target=ts",
      ...files,
    ],
    { stdio: "inherit" },
  );
} catch (error) {
  if (error.code === "ENOENT") {
    console.error("protoc is not installed: apt-get install protobuf-compiler");
  }
  process.exit(1);
}
console.log(`generated ${files.length} files from proto/ in src/gen`);
