// Bundles the libraries into one file, the same bytes each time: npm ci && npm run build.
import { build } from "esbuild";
import { readFile, readdir, writeFile } from "node:fs/promises";

const ASSETS = "../../compiler/report/assets";
const LICENSE_FILES = ["LICENSE", "LICENSE.txt", "NOTICE"];

/** Every package whose code is in the bundle. */
function bundled(metafile) {
  const paths = Object.keys(metafile.inputs).filter((p) => p.startsWith("node_modules/"));
  const names = paths.map((p) => p.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)[1]);
  return [...new Set(names)].sort();
}

async function licencesOf(name) {
  const texts = [];
  const more = await readdir(`node_modules/${name}/licenses`).catch(() => []);
  for (const file of [...LICENSE_FILES, ...more.sort().map((f) => `licenses/${f}`)]) {
    const text = await readFile(`node_modules/${name}/${file}`, "utf8").catch(() => null);
    if (text !== null) texts.push(text.trim());
  }
  if (!texts.length) throw new Error(`${name}: no licence file`);
  return texts.join("\n\n");
}

const made = await build({
  entryPoints: ["vendor.js"],
  outfile: `${ASSETS}/vendor.js`,
  bundle: true,
  minify: true,
  metafile: true,
  format: "iife",
  globalName: "vendor",
  target: "es2020",
  charset: "ascii",
  legalComments: "none",
  banner: { js: "/*! Libraries of the report, see vendor.LICENSES.txt: ECharts (Apache-2.0), dagre (MIT), d3-shape (ISC) */" },
});

const parts = [];
for (const name of bundled(made.metafile)) {
  const about = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const line = "-".repeat(72);
  parts.push(`${line}\n${about.name} ${about.version}, ${about.license}\n${line}\n\n${await licencesOf(name)}\n`);
}
await writeFile(`${ASSETS}/vendor.LICENSES.txt`, `The libraries in vendor.js and their licences.\n\n${parts.join("\n")}`);
